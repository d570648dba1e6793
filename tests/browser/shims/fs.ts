// The subset of node:fs/promises that the suites use, for pages: fixtures are fetched.

export async function readFile(url: URL): Promise<Uint8Array> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

/**
 * GPT-2's byte alphabet: a printable character for each byte, so that vocabularies can be written as text. Printable
 * Latin-1 characters represent themselves; the other bytes take U+0100 and up, in order (a space is "Ġ", U+0120).
 */
const printable = (byte: number) =>
  (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;

const all = Array.from({ length: 256 }, (_, byte) => byte);
const shifted = all.filter((byte) => !printable(byte));

/** The 256 bytes in order of their characters, which is the order of GPT-2's first ids. */
export const BYTE_ORDER: readonly number[] = [...all.filter(printable), ...shifted];

const characterOf = all.map((byte) =>
  String.fromCharCode(printable(byte) ? byte : 0x100 + shifted.indexOf(byte)),
);
const byteOf = new Map(characterOf.map((character, byte) => [character, byte]));

/** The characters of {@link BYTE_ORDER}. */
export const ALPHABET: readonly string[] = BYTE_ORDER.map((byte) => characterOf[byte]);

export function toByteLevel(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += characterOf[byte];
  return text;
}

export function isByteLevel(text: string): boolean {
  for (const character of text) if (!byteOf.has(character)) return false;
  return true;
}

/** The bytes of a text in the byte alphabet, one for each character. */
export function fromByteLevel(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = byteOf.get(text[i])!;
  return bytes;
}

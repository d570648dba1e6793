// The subset of node:test that the suites use, for pages: declarations are collected, and `run` runs them.

type Action = () => unknown;

interface Group {
  name: string;
  before: Action[];
  after: Action[];
  tests: { name: string; action: Action }[];
}

export interface Result {
  name: string;
  /** Absent if the test passed. */
  error?: string;
}

const groups: Group[] = [];
const current = (): Group => groups[groups.length - 1];

export function describe(name: string, declare: () => void): void {
  groups.push({ name, before: [], after: [], tests: [] });
  declare();
}

export function before(action: Action): void {
  current().before.push(action);
}

export function after(action: Action): void {
  current().after.push(action);
}

/** Ignores the options, such as timeouts: the test that opened the page has its own. */
export function test(name: string, ...rest: [action: Action] | [options: object, action: Action]): void {
  current().tests.push({ name, action: rest[rest.length - 1] as Action });
}

/** Runs the tests of all groups in sequence. Hooks are reported like tests. */
export async function run(): Promise<Result[]> {
  const results: Result[] = [];
  for (const group of groups) {
    const attempt = async (name: string, action: Action) => {
      const error = await failure(action);
      results.push({ name: `${group.name} > ${name}`, error });
    };
    for (const action of group.before) await attempt("before", action);
    for (const { name, action } of group.tests) await attempt(name, action);
    for (const action of group.after) await attempt("after", action);
  }
  return results;
}

async function failure(action: Action): Promise<string | undefined> {
  try {
    await action();
    return undefined;
  } catch (error) {
    return String(error);
  }
}

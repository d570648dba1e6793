// What the suites use of node:test, for pages: it collects what is declared, and `run` runs it.

type Action = () => unknown;

interface Group {
  name: string;
  before: Action[];
  after: Action[];
  tests: { name: string; action: Action }[];
}

export interface Result {
  name: string;
  /** Absent where the test passed. */
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

/** Options are for runners that stop a test; whoever opened the page does that here. */
export function test(name: string, ...rest: [action: Action] | [options: object, action: Action]): void {
  current().tests.push({ name, action: rest[rest.length - 1] as Action });
}

/** Runs every group that was described, one test after the other. Hooks are reported like tests. */
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

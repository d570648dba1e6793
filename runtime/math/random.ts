/**
 * Deterministic random numbers: xoshiro128++ (Blackman & Vigna 2019), whose state is a hash of a key. Streams of
 * different keys are independent, so that each use of randomness has its own key and the order of calls does not matter.
 *
 * @example
 * const random = new Random(`${seed}/sampling`);
 * random.uniform(); // in [0, 1)
 */
export class Random {
  readonly #state: Uint32Array;
  #spare = Number.NaN;

  constructor(key: string) {
    this.#state = Uint32Array.from([1, 2, 3, 4], (salt) => hash(key, salt));
  }

  /** 32 random bits. */
  uint32(): number {
    const s = this.#state;
    const result = (rotate(s[0] + s[3], 7) + s[0]) >>> 0;
    const t = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 11);
    return result;
  }

  /** Uniform in [0, 1), with 53 random bits. */
  uniform(): number {
    return ((this.uint32() >>> 5) * 2 ** 26 + (this.uint32() >>> 6)) / 2 ** 53;
  }

  /** Standard normal, by Marsaglia's polar method. */
  normal(): number {
    if (!Number.isNaN(this.#spare)) {
      const spare = this.#spare;
      this.#spare = Number.NaN;
      return spare;
    }
    for (;;) {
      const x = 2 * this.uniform() - 1;
      const y = 2 * this.uniform() - 1;
      const square = x * x + y * y;
      if (square === 0 || square >= 1) continue;
      const length = Math.sqrt((-2 * Math.log(square)) / square);
      this.#spare = y * length;
      return x * length;
    }
  }
}

const rotate = (x: number, by: number): number => (x << by) | (x >>> (32 - by));

/** MurmurHash3's mixing, over UTF-16 code units. */
function hash(text: string, salt: number): number {
  let h = Math.imul(salt, 0x9e3779b1);
  for (let i = 0; i < text.length; i++) {
    h = Math.imul(h ^ Math.imul(rotate(Math.imul(text.charCodeAt(i), 0xcc9e2d51), 15), 0x1b873593), 5);
    h = rotate(h, 13) + 0xe6546b64;
  }
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

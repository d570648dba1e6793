const utf16 = new TextDecoder("utf-16le", { ignoreBOM: true });

/**
 * Numbers the distinct words of texts 0, 1, 2, … in order of first occurrence. It is a hash table with open addressing,
 * four times as fast as a Map, which needs each word as a separate string. In Bun, a Map of such substrings also keeps the
 * texts in memory.
 */
export class WordTable {
  /** By hash: 1 + the number of the word, or 0 if free. The length is a power of two, and at least half is free. */
  #slots = new Int32Array(2048);
  #hashes = new Int32Array(1024);
  /** Word w has the UTF-16 code units #starts[w] to #starts[w + 1] - 1. */
  #starts = new Int32Array(1025);
  #units = new Uint16Array(8192);
  #size = 0;
  /** Random in each table, so that nobody can craft a text whose words collide. */
  readonly #seed = Math.floor(Math.random() * 2 ** 32);

  /** Number of words. */
  get size(): number {
    return this.#size;
  }

  /** The number of the word from `start` to `end`, which is added if it is new. */
  add(text: string, start: number, end: number): number {
    let hash = this.#seed;
    for (let i = start; i < end; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x9e3779b1);
    hash ^= hash >>> 15;
    const mask = this.#slots.length - 1;
    let slot = hash & mask;
    for (let word = this.#slots[slot] - 1; word >= 0; word = this.#slots[slot] - 1) {
      if (this.#hashes[word] === hash && this.#isAt(word, text, start, end)) return word;
      slot = (slot + 1) & mask;
    }
    const word = this.#size++;
    this.#slots[slot] = this.#size;
    this.#hashes[word] = hash;
    const at = this.#starts[word];
    while (at + end - start > this.#units.length) this.#units = grown(this.#units);
    for (let i = start; i < end; i++) this.#units[at + i - start] = text.charCodeAt(i);
    this.#starts[word + 1] = at + end - start;
    if (this.#size === this.#hashes.length) this.#grow();
    return word;
  }

  /** A word's text, with lone surrogates as U+FFFD. */
  text(word: number): string {
    return utf16.decode(this.#units.subarray(this.#starts[word], this.#starts[word + 1]));
  }

  #isAt(word: number, text: string, start: number, end: number): boolean {
    const at = this.#starts[word];
    if (this.#starts[word + 1] - at !== end - start) return false;
    for (let i = start; i < end; i++) if (this.#units[at + i - start] !== text.charCodeAt(i)) return false;
    return true;
  }

  #grow(): void {
    this.#hashes = grown(this.#hashes);
    this.#starts = grown(this.#starts);
    this.#slots = new Int32Array(2 * this.#slots.length);
    const mask = this.#slots.length - 1;
    for (let word = 0; word < this.#size; word++) {
      let slot = this.#hashes[word] & mask;
      while (this.#slots[slot]) slot = (slot + 1) & mask;
      this.#slots[slot] = word + 1;
    }
  }
}

function grown<A extends Int32Array | Uint16Array>(array: A): A {
  const larger = new (array.constructor as new (length: number) => A)(2 * array.length);
  larger.set(array);
  return larger;
}

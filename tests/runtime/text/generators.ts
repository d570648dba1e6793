import fc from "fast-check";

/** GPT-2's pattern as a RegExp, with Unicode's White_Space for `\s`: the reference for the scanner. */
export const PATTERN =
  /'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

const separate =
  "_ _  _\n_\t_\r\n_\u00a0_\u3000_\u0085_\ufeff_\u200b_\0_1_½_٣_!_é_e\u0301_漢字_😀_👩‍👩‍👧_𐐀".split("_");
const contracted = "' 's 'd 'm 't 'll 've 're 'LL 'l a d m s t v e".split(" ");

/** Text in which every case that the pattern distinguishes is common. */
export const oddText = fc
  .array(
    fc.oneof(
      fc.constantFrom(...separate),
      fc.constantFrom(...contracted),
      fc.string({ unit: "binary", maxLength: 4 }),
    ),
    { maxLength: 40 },
  )
  .map((parts) => parts.join(""));

/** Text with few distinct letters, so that BPE finds many merges. */
export const repetitiveText = fc.oneof(
  fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 60 }),
  fc.string({ unit: fc.constantFrom("a", "b", "c", " "), maxLength: 60 }),
  fc.string({ unit: fc.constantFrom("é", "è", " ", "'s"), maxLength: 60 }),
);

import fc from "fast-check";

/** GPT-2's pattern as a RegExp, with Unicode's White_Space for `\s`: what the scanner is checked against. */
export const PATTERN =
  /'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}+/gu;

/** Text in which everything the pattern tells apart is common. */
export const oddText = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        " ",
        "  ",
        "\n",
        "\t",
        "\r\n",
        "'",
        "'s",
        "'ll",
        "'re",
        "'LL",
        "a",
        "ve",
        "1",
        "½",
        "٣",
        "!",
      ),
      fc.constantFrom(
        "é",
        "e\u0301",
        "漢字",
        "😀",
        "👩‍👩‍👧",
        "𐐀",
        "\u00a0",
        "\u3000",
        "\u0085",
        "\ufeff",
        "\u200b",
        "\0",
      ),
      fc.string({ unit: "binary", maxLength: 4 }),
    ),
    { maxLength: 40 },
  )
  .map((parts) => parts.join(""));

/** Text with so few letters that BPE finds much to merge in it. */
export const repetitiveText = fc.oneof(
  fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 60 }),
  fc.string({ unit: fc.constantFrom("a", "b", "c", " "), maxLength: 60 }),
  fc.string({ unit: fc.constantFrom("é", "è", " ", "'s"), maxLength: 60 }),
);

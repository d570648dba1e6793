/**
 * Built-in word lists, of words that are single tokens in small vocabularies. They were fixed before any model was examined.
 * Published evaluation sets are supplied by the caller: see `word-sets.ts`.
 */

const list = (words: string): readonly string[] => words.split(" ");
const pairs = (text: string): readonly (readonly [string, string])[] =>
  text.split(", ").map((pair) => pair.split(" ") as unknown as readonly [string, string]);

/** Words by semantic category. No word is in two categories. */
export const CATEGORIES: Readonly<Record<string, readonly string[]>> = {
  numbers: list("one two three four five six seven eight nine ten twenty hundred"),
  colours: list("red blue green white black yellow brown grey gold silver purple pink"),
  family: list("father mother brother sister son daughter uncle aunt wife husband child cousin"),
  animals: list("horse dog cat bird fish wolf lion bear fox sheep cow mouse"),
  body: list("hand head eye face foot arm mouth hair nose finger leg shoulder"),
  food: list("bread meat milk fruit sugar salt cheese butter egg wine rice cake"),
  countries: list("France Germany England Spain Italy China India Japan Russia Greece Egypt America"),
  months: list("January February March April May June July August September October November December"),
  weather: list("rain snow wind storm sun cloud ice heat cold fog thunder sky"),
  feelings: list("love fear joy anger hope pain pride grief delight pleasure sorrow surprise"),
};

/** Pairs of a negative word and its positive counterpart. */
export const SENTIMENT = pairs(
  "terrible great, bad good, sad happy, ugly beautiful, hate love, wrong right, poor rich, cruel kind, evil holy, " +
    "weak strong, sick well, dirty clean, stupid clever, boring interesting, awful wonderful, worst best, worse better, " +
    "failure success, enemy friend, death life",
);

/** Pairs of near-synonyms. */
export const SIMILAR = pairs(
  "big large, small little, begin start, road street, house home, ship boat, quick fast, stone rock, sea ocean, " +
    "forest wood, speak talk, look see, happy glad, rich wealthy, old ancient, shout cry, near close, answer reply, " +
    "end finish, woman lady, boy lad, hard difficult, strange odd, brave bold, angry furious, story tale, war battle, " +
    "king prince, city town, hill mountain, river stream, job work, gift present, afraid scared, smart clever, " +
    "build make, keep hold, choose pick, ask inquire, kill murder, force power, fight struggle, field meadow, " +
    "clothes dress, path way, shore coast, cottage hut, coat cloak",
);

/** Word pairs by relation: all pairs of a section are analogous. */
export const RELATIONS: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  gender: pairs(
    "man woman, king queen, father mother, son daughter, brother sister, husband wife, uncle aunt, boy girl, " +
      "prince princess, he she, his her, himself herself",
  ),
  capitals: pairs(
    "France Paris, England London, Italy Rome, Germany Berlin, China Beijing, Russia Moscow, Greece Athens, Japan Tokyo, " +
      "Spain Madrid, Egypt Cairo, Ireland Dublin, Austria Vienna",
  ),
  "present participles": pairs(
    "walked walking, ran running, said saying, went going, came coming, took taking, made making, looked looking, " +
      "gave giving, got getting, stood standing, wrote writing",
  ),
  "past tenses": pairs(
    "go went, see saw, come came, take took, make made, give gave, find found, know knew, think thought, tell told, " +
      "hear heard, bring brought",
  ),
  plurals: pairs(
    "day days, year years, hand hands, eye eyes, word words, horse horses, house houses, friend friends, man men, " +
      "woman women, tree trees, king kings",
  ),
  comparatives: pairs(
    "great greater, old older, large larger, small smaller, long longer, high higher, young younger, strong stronger, " +
      "good better, bad worse, low lower, near nearer",
  ),
};

/** The three analogies that the source of this work shows. */
export const SOURCE_ANALOGIES = [
  ["man", "king", "woman", "queen"],
  ["France", "Paris", "China", "Beijing"],
  ["walked", "walking", "ran", "running"],
] as const;

/** Tokens that the source shows individually. */
export const SHOWN = list("king queen France Germany three four terrible great water good");

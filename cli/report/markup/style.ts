/** Style sheet of the pages, for wide and narrow screens, light and dark mode, and print. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --paper: #fff; --ink: #1d1d1b; --soft: #65625c; --rule: #e2dfd8; --panel: #f6f4ef; --link: #0a5a94;
  --null: #8d8a84; --holds: #0a6cb0; --warm: #0a6cb0; --cold: #c4520a;
  --c0: #0a6cb0; --c1: #d2570b; --c2: #068466; --c3: #a3478c; --c4: #2f97cf; --c5: #a67a00;
  --serif: Charter, "Bitstream Charter", "Sitka Text", Cambria, Georgia, "Liberation Serif", serif;
  --sans: "Helvetica Neue", "Segoe UI", Roboto, Arial, "Liberation Sans", sans-serif;
  --mono: ui-monospace, Menlo, Consolas, "Liberation Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #161718; --ink: #e7e4dd; --soft: #a19d94; --rule: #34353a; --panel: #202124; --link: #7dbdf0;
    --null: #8b8984; --holds: #5fb1f2; --warm: #5fb1f2; --cold: #f2924c;
    --c0: #5fb1f2; --c1: #f2924c; --c2: #45c39c; --c3: #d98fc8; --c4: #a3d8f6; --c5: #dfb94b;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1rem; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1.0625rem/1.55 var(--serif); }
.formula { white-space: nowrap; }
a { color: var(--link); text-decoration-thickness: 1px; text-underline-offset: .18em; }
code { font: .8em var(--mono); color: var(--soft); overflow-wrap: anywhere; }
p, dl, ul { margin: 0 0 1em; }
.page { max-width: 75rem; margin: 0 auto; padding: 3.5rem 2rem 4rem; display: grid;
  grid-template-columns: 10.5rem minmax(0, 1fr); column-gap: 3rem; }
header, main, footer { grid-column: 2; min-width: 0; }
.prose, .summary, .question p, .notes { max-width: 42rem; }

/* header */
h1 { font-size: 2.3rem; line-height: 1.15; letter-spacing: -.015em; font-weight: 600; margin: 0 0 .6rem; text-wrap: balance; }
h2 { font-size: 1.65rem; line-height: 1.2; letter-spacing: -.01em; font-weight: 600; margin: .15rem 0 .9rem; text-wrap: balance; }
h3 { font: 600 .95rem/1.35 var(--sans); margin: 0 0 .25rem; }
.about { font: .82rem/1.5 var(--sans); color: var(--soft); margin: 0 0 1.6rem; display: grid;
  grid-template-columns: max-content minmax(0, 1fr); gap: .1rem 1.1rem; max-width: 46rem; }
.about dt { color: var(--soft); }
.about dd { margin: 0; color: var(--ink); overflow-wrap: anywhere; }
.about code { font-size: .76rem; }
.summary { font-size: 1.3rem; line-height: 1.4; margin: 0 0 1.8rem; }

/* table of contents */
nav { font: .82rem/1.3 var(--sans); position: sticky; top: 2rem; align-self: start; grid-row: 1 / span 3; padding-top: .7rem; }
nav ol { list-style: none; margin: 0; padding: 0; border-left: 1px solid var(--rule); }
nav a { color: var(--ink); text-decoration: none; display: flex; justify-content: space-between; gap: .6rem; padding: .26rem 0 .26rem .8rem; }
nav a:hover { color: var(--link); }
nav small { font-size: .75rem; color: var(--soft); font-variant-numeric: tabular-nums; }

/* sections */
section { margin: 0 0 4rem; }
main > section + section { border-top: 1px solid var(--rule); padding-top: 2.2rem; }
.kicker { font: 600 .74rem/1 var(--sans); letter-spacing: .08em; text-transform: uppercase; color: var(--soft); margin: 0; }
.source { font-size: .95rem; color: var(--soft); }
.none { color: var(--soft); font-style: italic; }
.claims { list-style: none; padding: 0; margin: 1.4rem 0 2rem; max-width: 46rem; }
.claims li { display: grid; grid-template-columns: 5.6rem minmax(0, 1fr); column-gap: 1rem; margin: 0 0 1rem; }
.claims p { margin: 0; font-size: .92rem; line-height: 1.5; color: var(--soft); }
.claims .statement { font-size: 1.0625rem; color: var(--ink); }
.verdict { font: .78rem/1.65rem var(--sans); color: var(--soft); white-space: nowrap; }
.verdict::before { content: ""; display: inline-block; width: .55em; height: .55em; margin-right: .5em; border-radius: 50%; border: 1.5px solid var(--soft); }
.verdict.holds { color: var(--holds); font-weight: 600; }
.verdict.holds::before { background: var(--holds); border-color: var(--holds); }
.kinds { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .5rem 1rem; margin-left: .2rem; }
.kinds dt { font: 600 .85rem/1.65rem var(--sans); }
.kinds dd { margin: 0; }
.notes { font-size: .92rem; line-height: 1.5; color: var(--soft); padding-left: 1.1em; margin-top: 1.6rem; }
.plain { font: .82rem/1.5 var(--sans); padding-left: 1.2em; margin: .5rem 0; }
footer { border-top: 1px solid var(--rule); padding-top: 1.2rem; font-size: .92rem; color: var(--soft); }

/* figures */
.figures { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 2.6rem; align-items: start; }
.figures > div { display: grid; gap: 2.6rem; min-width: 0; }
figure { margin: 0; min-width: 0; }
figure.wide { grid-column: 1 / -1; }
figcaption p { font: .82rem/1.45 var(--sans); color: var(--soft); margin: 0 0 .6rem; max-width: 44rem; }
figure svg { display: block; width: 100%; height: auto; overflow: visible; font: 11.5px var(--sans); }
.broad { display: block; }
.narrow { display: none; }
.tag { display: inline-block; min-width: 1.5em; text-align: center; border-radius: .2em; background: var(--ink); color: var(--paper); padding: 0 .35em; font-size: .85em; }
.legend { list-style: none; display: flex; flex-wrap: wrap; align-items: center; gap: .15rem 1rem; margin: 0 0 .45rem; padding: 0; font: .78rem/1.4 var(--sans); color: var(--soft); }
.legend li { display: flex; align-items: center; gap: .4rem; }
figure .legend svg { width: auto; height: .75rem; flex: none; display: inline-block; }
.key { gap: .45rem; }
.key span:first-child { margin-right: .4rem; }
svg text { fill: var(--ink); paint-order: stroke; stroke: var(--paper); stroke-width: 3px; stroke-linejoin: round; font-variant-numeric: tabular-nums; }
.ticks text, .titles text { fill: var(--soft); }
.titles text { font-size: 11px; }
.rules path { stroke: var(--rule); stroke-width: .7; fill: none; }
.rules .zero { stroke: var(--soft); }
.ticks path { stroke: var(--rule); stroke-width: .7; }
.c0 { --c: var(--c0); } .c1 { --c: var(--c1); } .c2 { --c: var(--c2); }
.c3 { --c: var(--c3); } .c4 { --c: var(--c4); } .c5 { --c: var(--c5); }
.line { fill: none; stroke: var(--c); stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.d1 .line { stroke-dasharray: 7 3; } .d2 .line { stroke-dasharray: 2 3.4; } .d3 .line { stroke-dasharray: 9 3 2 3; }
.band { fill: var(--c); opacity: .16; }
.null { --c: var(--null); }
.null .line { stroke-dasharray: 4 3.5; stroke-width: 1.5; }
.null .band { opacity: .24; }
path[class^="c"]:not([class="chance"]):not([class="cold"]) { fill: var(--c); }
.points path { fill-opacity: .88; }
.labels text { font-size: 10.5px; fill: var(--ink); }
.bar { fill: var(--c0); }
.whisker { fill: none; stroke: var(--ink); stroke-width: 1.1; }
.chance { fill: none; stroke: var(--null); stroke-width: 1.8; stroke-dasharray: 3 2; }
.halo { fill: none; stroke: var(--paper); stroke-width: 5; }
.bins path { fill: var(--null); opacity: .55; }
path.observed { fill: none; stroke: var(--c1); stroke-width: 2; }
text.observed { fill: var(--c1); font-weight: 600; }
.warm { fill: var(--warm); } .cold { fill: var(--cold); }
.cells text { font-size: 10.5px; stroke: none; }
.cells .on { fill: var(--paper); }

/* numbers */
details { font-family: var(--sans); margin-top: .5rem; }
summary { font-size: .78rem; color: var(--soft); cursor: pointer; width: max-content; max-width: 100%; }
summary:hover { color: var(--link); }
details .scrolls { max-height: 24rem; margin-top: .4rem; }
details h4 { font: 600 .8rem/1.3 var(--sans); margin: .7rem 0 .2rem; }
details p { font-size: .8rem; margin: .3rem 0; }
.scrolls { overflow: auto; }
table { border-collapse: collapse; font: .82rem/1.4 var(--sans); font-variant-numeric: tabular-nums lining-nums; width: 100%; }
details table { width: auto; font-size: .76rem; }
th { font-weight: 600; text-align: left; vertical-align: bottom; color: var(--soft); }
th, td { padding: .3rem .9rem .3rem 0; }
td { vertical-align: top; border-top: 1px solid var(--rule); }
th:last-child, td:last-child { padding-right: 0; }
thead th { border-bottom: 1px solid var(--soft); font-size: .76rem; }
.n { text-align: right; white-space: nowrap; }
th.n { white-space: normal; }
.parameters { display: flex; flex-wrap: wrap; gap: .1rem 1.2rem; font-size: .78rem; margin: .4rem 0 0; color: var(--soft); }
.parameters div { display: flex; gap: .35rem; }
.parameters dd { margin: 0; color: var(--ink); }

/* the certificate */
.certificate { margin: 2rem 0 1rem; }
.certificate tbody th { color: var(--ink); font-weight: 400; font-size: .86rem; line-height: 1.4; vertical-align: top; border-top: 1px solid var(--rule); }
.certificate tbody a { color: inherit; text-decoration-color: var(--rule); }
.certificate tbody a:hover { color: var(--link); }
.certificate small { display: block; margin-top: .1rem; font: .74rem/1.5 var(--mono); color: var(--soft); overflow-wrap: anywhere; }
.certificate b { font: 600 .74rem var(--sans); margin-right: .4em; }
.certificate .verdict { line-height: 1.4; }
.certificate td div { white-space: nowrap; }
.certificate td { font-size: .8rem; }
.spread { width: 10rem; }
.certificate tbody th { min-width: 15rem; }
.certificate .strip { display: block; width: 9.5rem; height: auto; font: 10px var(--sans); }
.strip text { fill: var(--soft); }
.strip .band { fill: var(--null); opacity: .24; }
.strip .rule { stroke: var(--rule); }
.strip .chance { stroke-width: 1.1; stroke-dasharray: 2 2; }
.strip .holds { fill: var(--holds); }
.strip text.holds, .strip text.open { font: 700 11px var(--sans); stroke-width: 2px; }
.strip text.open { fill: var(--soft); stroke: var(--paper); }
.strip circle.open { fill: var(--paper); stroke: var(--soft); stroke-width: 1.5; }

@media (max-width: 68rem) {
  .page { display: block; padding-top: 2rem; }
  nav { position: static; margin: 0 0 2rem; padding: 0; }
  nav ol { display: flex; flex-wrap: wrap; border: 0; gap: .1rem 1.1rem; }
  nav a { padding: .2rem 0; gap: .35rem; text-decoration: underline; text-decoration-color: var(--rule); }
}
@media (max-width: 48rem) {
  body { font-size: 1rem; }
  .page { padding: 1.4rem 1rem 3rem; }
  h1 { font-size: 1.75rem; }
  h2 { font-size: 1.4rem; }
  .summary { font-size: 1.15rem; }
  .figures { grid-template-columns: minmax(0, 1fr); gap: 2.2rem; }
  .certificate tbody th { min-width: 0; }
  .broad { display: none; }
  .narrow { display: block; }
  .claims li { grid-template-columns: minmax(0, 1fr); }
  .kinds { grid-template-columns: minmax(0, 1fr); gap: 0; }
  .kinds dd { margin-bottom: .6rem; }
  .about { grid-template-columns: minmax(0, 1fr); gap: 0; }
  .about dd { margin-bottom: .4rem; }
  table.stacks thead, .certificate thead { position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden; }
  table.stacks, .stacks tbody, .stacks tr, .stacks td, .certificate, .certificate tbody { display: block; }
  .stacks tr { border-top: 1px solid var(--rule); padding: .5rem 0; }
  .stacks td { border: 0; padding: .08rem 0; text-align: left; white-space: normal; }
  .stacks td:first-child { font-weight: 600; }
  .stacks td + td { display: grid; grid-template-columns: 8.5rem minmax(0, 1fr); gap: .8rem; }
  .stacks td + td::before { content: attr(data-column); color: var(--soft); }
  .certificate tr { display: grid; grid-template-columns: 1fr 1fr; gap: .1rem 1rem; border-top: 1px solid var(--rule); padding: .8rem 0; }
  .certificate td, .certificate tbody th { border: 0; padding: 0; text-align: left; white-space: normal; }
  .certificate tbody th { grid-column: 1 / -1; grid-row: 1; font-size: .95rem; }
  .certificate .spread { width: auto; }
  .certificate .strip { width: 100%; max-width: 9.5rem; margin: 0; }
  .certificate td[data-column]::before { content: attr(data-column) " "; color: var(--soft); }
}
@media print {
  :root { color-scheme: light; --paper: #fff; --ink: #000; --soft: #555; --rule: #ccc; --null: #888; --link: #000; --holds: #0a6cb0;
    --warm: #0a6cb0; --cold: #c4520a; --c0: #0a6cb0; --c1: #d2570b; --c2: #068466; --c3: #a3478c; --c4: #2f97cf; --c5: #a67a00; }
  body { font-size: 10pt; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  .page { display: block; padding: 0; max-width: none; }
  nav, details { display: none; }
  h2, h3, figcaption, .kicker { break-after: avoid; }
  figure, li, tr { break-inside: avoid; }
  section { margin-bottom: 2rem; }
}
`;

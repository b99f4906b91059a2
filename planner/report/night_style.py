"""How the page of a night looks: light and dark, from 360 pixels on, without a network.

Colours are of Okabe and Ito's set, which readers with any colour vision can tell apart; none of them says anything that
a word or a sign beside it does not say. Text is never in them: they are too light to be read on white.
"""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --page: #fbfbf9; --card: #fff; --ink: #1b1b1a; --soft: #5b5b57; --line: #d9d8d2;
  --rail: #ecebe5; --main: #0072b2; --other: #a9a89f; --warm: #d55e00; --warm-card: #fdf1e8; --note-card: #eef4f9; }
@media (prefers-color-scheme: dark) { :root { --page: #161615; --card: #1f1f1e; --ink: #ecebe6; --soft: #a9a8a1;
  --line: #3a3a37; --rail: #2c2c2a; --main: #56b4e9; --other: #77766f; --warm: #e69f00; --warm-card: #31261a;
  --note-card: #1c2730; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
  -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
main { max-width: 62rem; margin: 0 auto; padding: 1rem 1rem 3rem; }
h1 { font-size: clamp(1.25rem, 1rem + 1.4vw, 1.75rem); line-height: 1.3; margin: .25rem 0 .75rem; text-wrap: pretty; }
h2 { font-size: 1.125rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
h1, h2, h3, p, li, dd, summary { overflow-wrap: anywhere; }
p { margin: .4rem 0; max-width: 46rem; }
.soft, figcaption, dt, caption { color: var(--soft); font-size: .875rem; }
.num, td.num, th.num { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; }
.notices { list-style: none; margin: 0; padding: 0; display: grid; gap: .5rem; }
.notices li { border-left: .3rem solid var(--main); background: var(--note-card); padding: .5rem .75rem;
  border-radius: .25rem; }
.notices li.fault { border-color: var(--warm); background: var(--warm-card); }
.rows { display: grid; gap: .6rem; margin: .5rem 0; }
.row { display: grid; grid-template-columns: 1fr auto; gap: 0 1rem; align-items: baseline; }
.row svg { grid-column: 1 / -1; display: block; width: 100%; height: .75rem; margin-top: .15rem; }
@media (min-width: 44rem) { .row { grid-template-columns: 11rem 14.5rem minmax(0, 1fr); }
  .row svg { grid-column: 3; grid-row: 1; align-self: start; margin-top: .4rem; } }
.rail { fill: var(--rail); } .main { fill: var(--main); } .other { fill: var(--other); } .warm { fill: var(--warm); }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .35rem; background: var(--card); }
.scroll:focus-visible, summary:focus-visible { outline: .15rem solid var(--main); outline-offset: .1rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .35rem .65rem; border-top: 1px solid var(--line); vertical-align: top; }
thead th { border-top: 0; font-weight: 600; white-space: nowrap; }
td { min-width: 7rem; } td.num { min-width: 0; } td.wide { min-width: 13rem; overflow-wrap: anywhere; }
td.wide:last-child { min-width: 22rem; }
details { margin: .75rem 0; } summary { cursor: pointer; padding: .25rem 0; font-weight: 600; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .75rem; margin: .5rem 0; }
dl > div { background: var(--card); border: 1px solid var(--line); border-radius: .35rem; padding: .5rem .75rem; }
dd { margin: 0; font-size: 1.0625rem; font-variant-numeric: tabular-nums; }
.plots { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); }
figure { margin: 0; } figure svg { display: block; width: 100%; max-width: 27rem; height: auto; }
figure text { fill: var(--soft); font: 11px system-ui, sans-serif; }
.frame { fill: none; stroke: var(--line); } .even { stroke: var(--soft); stroke-dasharray: 4 3; }
.grid { stroke: var(--rail); } .dot { fill: var(--main); fill-opacity: .55; stroke: var(--main); }
footer { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: .75rem; }
@media print { .scroll { overflow: visible; } }
"""

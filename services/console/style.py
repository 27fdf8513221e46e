"""The page's style sheet: no other asset exists, and none is loaded from elsewhere."""

STYLE = """
:root { color-scheme: light dark;
  --bg: light-dark(#f6f7f9, #14171c); --card: light-dark(#ffffff, #1c2027); --ink: light-dark(#1b1f27, #e6e9ef);
  --dim: light-dark(#5d6675, #98a2b3); --line: light-dark(#e1e5eb, #2d333d); --accent: light-dark(#0b6e4f, #4cc38a);
  --good: light-dark(#0b6e4f, #4cc38a); --warn: light-dark(#9a5b00, #f0b429); --bad: light-dark(#b42318, #ff7a70); }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
header, main, footer { max-width: 72rem; margin: 0 auto; padding: 1rem 1.25rem; }
header { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; align-items: baseline; padding-top: 1.75rem; }
h1 { font-size: 1.35rem; margin: 0; letter-spacing: -.01em; }
h2 { font-size: 1.1rem; margin: 0; }
h3 { font-size: .78rem; margin: 1.25rem 0 .35rem; color: var(--dim); text-transform: uppercase; letter-spacing: .06em; }
nav { display: flex; flex-wrap: wrap; gap: 1rem; margin-left: auto; }
a { color: var(--accent); text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
section { background: var(--card); border: 1px solid var(--line); border-radius: .75rem; padding: 1.1rem 1.25rem;
  margin-bottom: 1.25rem; overflow-x: auto; }
.head { display: flex; flex-wrap: wrap; gap: .4rem .75rem; align-items: baseline; }
.facts { display: flex; flex-wrap: wrap; gap: .3rem 1.75rem; margin: .8rem 0 0; }
.facts div { display: flex; gap: .45rem; }
dt { white-space: nowrap; }
.steps { list-style: none; margin: 0; padding: 0; }
.steps li { display: grid; grid-template-columns: 8.5rem 1fr; padding: .15rem 0; }
.steps .pill { justify-self: start; align-self: start; }
dt, .dim { color: var(--dim); }
dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--dim); font-size: .82rem; }
th, td { padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
td.marks { white-space: normal; padding-right: 0; }
.marks .pill { margin-right: .35rem; }
td.number, th.number { text-align: right; }
meter { width: 8rem; }
code { font: .88em ui-monospace, monospace; color: var(--dim); }
.pill { display: inline-block; padding: 0 .55rem; border-radius: 1rem; font-size: .82rem; border: 1px solid currentColor; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
footer { color: var(--dim); font-size: .85rem; padding-bottom: 2rem; }
""".lstrip()

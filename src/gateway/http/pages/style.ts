/** The one stylesheet of the server-made pages: light and dark, from phone width up, contrast of WCAG AA. */
export const STYLE = `
:root { color-scheme: light dark; --bg: #fbfaf8; --card: #fff; --text: #1c1b1a; --soft: #5c5853; --line: #e2ded8; --accent: #0b5fff; --accent-text: #fff; --good: #0a6b2f; --bad: #a8201a; }
@media (prefers-color-scheme: dark) { :root { --bg: #161514; --card: #201f1d; --text: #f1efec; --soft: #b4afa8; --line: #3a3733; --accent: #8ab4ff; --accent-text: #10131a; --good: #7ddb9a; --bad: #ff9a92; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 56rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
main.narrow { max-width: 30rem; }
header { display: flex; justify-content: space-between; align-items: center; max-width: 56rem; margin: 0 auto; padding: 1rem; }
header a { color: inherit; font-weight: 650; text-decoration: none; letter-spacing: -.01em; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 1rem; }
h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p { margin: .5rem 0; }
a { color: var(--accent); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1.25rem; overflow-x: auto; }
.soft { color: var(--soft); }
.good { color: var(--good); }
.bad { color: var(--bad); }
.code { font: 600 1.75rem/1.2 ui-monospace, monospace; letter-spacing: .08em; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .35rem 1rem; margin: 1rem 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 500; color: var(--soft); font-size: .875rem; }
th, td { padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .75rem; margin: .25rem 0; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; font: .875rem/1.45 ui-monospace, monospace; }
code { font: .9em ui-monospace, monospace; }
form.row { display: flex; gap: .75rem; flex-wrap: wrap; margin-top: 1rem; }
button { font: inherit; font-weight: 550; padding: .6rem 1.25rem; border-radius: 8px; border: 1px solid var(--line); background: var(--card); color: var(--text); cursor: pointer; }
button.main { background: var(--accent); color: var(--accent-text); border-color: var(--accent); }
button:focus-visible, a:focus-visible, input:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
input[type=text] { font: 1.25rem ui-monospace, monospace; letter-spacing: .08em; padding: .5rem .75rem; border: 1px solid var(--line); border-radius: 8px; background: var(--bg); color: var(--text); width: 100%; max-width: 16rem; }
label.choice { display: flex; gap: .5rem; align-items: baseline; margin: .35rem 0; }
article { margin: 1rem 0; }
article h3 { font-size: .875rem; font-weight: 550; color: var(--soft); margin: 0; }
`;

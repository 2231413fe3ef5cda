const fs = require('fs');
const path = require('path');
const { marked } = require('/tools/node_modules/marked');
const [from, to] = process.argv.slice(2);
fs.mkdirSync(to, { recursive: true });
for (const name of fs.readdirSync(from).sort()) {
  const text = fs.readFileSync(path.join(from, name), 'utf8');
  fs.writeFileSync(path.join(to, name.replace(/\.md$/, '.html')), marked.parse(text));
}

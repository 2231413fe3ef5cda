const http = require('http');
const ms = require('ms');
const semver = require('semver');

http
  .createServer((request, response) => {
    if (request.url === '/health') return response.end('ok\n');
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ uid: process.getuid(), hour: ms('1h'), newer: semver.gt('1.10.0', '1.9.9') }) + '\n');
  })
  .listen(process.env.PORT);

const fs = require('fs');
fs.watch(process.argv[2], (event, name) => console.log(event, name));
console.log('ready');

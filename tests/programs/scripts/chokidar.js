const chokidar = require('chokidar');
const watcher = chokidar.watch(process.argv[2], { ignoreInitial: true });
watcher.on('all', (event, path) => console.log(event, path));
watcher.on('ready', () => console.log('ready'));

import sys
from PySide2.QtCore import QCoreApplication, QFileSystemWatcher

application = QCoreApplication(sys.argv)
watcher = QFileSystemWatcher([sys.argv[1], sys.argv[1] + '/file'])
watcher.fileChanged.connect(lambda path: print('file', path, watcher.files(), flush=True))
watcher.directoryChanged.connect(lambda path: print('folder', path, watcher.directories(), flush=True))
print('ready', flush=True)
application.exec_()

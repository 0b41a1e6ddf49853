#!/bin/sh
# Installs uinotify from the folder of this script, or removes it: install.sh [--prefix DIR] [--uninstall]
# DIR is /usr/local if not given. DESTDIR, if set, stands in front of it.
set -eu
cd "$(dirname "$0")"

prefix=/usr/local action=install
while [ $# -gt 0 ]; do
    case $1 in
        --prefix) prefix=${2:?--prefix takes a folder}; shift ;;
        --uninstall) action=uninstall ;;
        *) echo "usage: install.sh [--prefix DIR] [--uninstall]" >&2; exit 2 ;;
    esac
    shift
done
case $prefix in /*) ;; *) echo "install.sh: the prefix has to be an absolute path" >&2; exit 2 ;; esac
root=${DESTDIR-}$prefix

# Every file below root/ in this archive, with the path that it gets.
find root -type f | sed 's,^root/,,' | sort | while read -r file; do
    target=$root/$file
    if [ "$action" = uninstall ]; then
        rm -f "$target"
        # The one folder that is uinotify's own.
        case $file in share/doc/uinotify/*) rmdir "${target%/*}" 2>/dev/null || true ;; esac
        continue
    fi
    mkdir -p "$(dirname "$target")"
    case $file in bin/*) mode=755 ;; *) mode=644 ;; esac
    case $file in
        share/pkgconfig/* | lib/systemd/*) sed "s,/usr\([/\$]\|$\),$prefix\1,; s,^prefix=.*,prefix=$prefix," "root/$file" >"$target.new" ;;
        *) cp "root/$file" "$target.new" ;;
    esac
    chmod "$mode" "$target.new"
    mv "$target.new" "$target"
done

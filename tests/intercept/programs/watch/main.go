// A program of Go's, static, by fsnotify: watch FOLDER. It says what happens there until "the-end" is created.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/fsnotify/fsnotify"
)

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func main() {
	folder := os.Args[1]
	watcher, err := fsnotify.NewWatcher()
	must(err)
	defer watcher.Close()
	must(watcher.Add(folder))
	fmt.Println("ready", len(watcher.WatchList()))
	go func() {
		path := func(name string) string { return filepath.Join(folder, name) }
		must(os.WriteFile(path("one"), []byte("text"), 0644))
		must(os.Chmod(path("one"), 0600))
		must(os.Rename(path("one"), path("two")))
		must(os.Remove(path("two")))
		must(os.Mkdir(path("the-end"), 0755))
	}()
	for {
		select {
		case event := <-watcher.Events:
			fmt.Println(event.Op, filepath.Base(event.Name))
			if filepath.Base(event.Name) == "the-end" {
				fmt.Println("after removal:", watcher.Remove(folder), watcher.Remove(folder) != nil)
				return
			}
		case err := <-watcher.Errors:
			must(err)
		}
	}
}

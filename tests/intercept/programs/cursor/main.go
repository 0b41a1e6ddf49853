// What a checkpointer does in Go, where no libc is called: cursor FOLDER gives a watch its old number back.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"
)

const setNextWD = 0x40044900

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func main() {
	folder, wanted := os.Args[1], 0x34d71d6
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	must(err)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), setNextWD, uintptr(wanted)); errno != 0 {
		must(errno)
	}
	wd, err := syscall.InotifyAddWatch(fd, folder, syscall.IN_CREATE)
	must(err)
	fmt.Printf("asked for wd %#x, got %#x\n", wanted, wd)
	// The runtime's poller waits for it.
	file := os.NewFile(uintptr(fd), "inotify")
	go func() { must(os.WriteFile(filepath.Join(folder, "new"), nil, 0644)) }()
	var buffer [4096]byte
	length, err := file.Read(buffer[:])
	must(err)
	event := (*syscall.InotifyEvent)(unsafe.Pointer(&buffer[0]))
	name := buffer[syscall.SizeofInotifyEvent:length]
	fmt.Printf("event on wd %#x, mask %#x, name %s\n", event.Wd, event.Mask, name[:3])
}

//! Builds the shim: the package `uinotify-preload` once more, as the shared library that the command carries inside itself.
//!
//! As a member of the workspace `uinotify-preload` is a plain library without `std`; its exported functions and its panic
//! handler stand behind `--cfg shim`. A feature would not do: `--all-features` would turn it on, and a library that
//! defines `read` and `close` must never be linked into the command itself.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What an outer build sets for its own crates only: wrappers (clippy, Miri, coverage), flags, targets and folders.
const OUTER_BUILD_ONLY: &[&str] = &[
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_INCREMENTAL",
    "CARGO_TARGET_DIR",
    "CLIPPY_ARGS",
    "CLIPPY_CONF_DIR",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOC",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
];

/// The shim stands on no library, not even libc: one file then loads into glibc and musl programs of any age.
const SHIM_FLAGS: &[&str] = &[
    "--cfg",
    "shim",
    "-C",
    "link-arg=-nostdlib",
    "-C",
    "link-arg=-nostartfiles",
    "-C",
    "link-arg=-nodefaultlibs",
    "-C",
    "link-arg=-Wl,-soname,libuinotify.so",
];

fn main() {
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    for part in ["emu/preload/src", "emu/preload/Cargo.toml", "emu/wire/src", "emu/wire/Cargo.toml", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", workspace.join(part).display());
    }
    println!("cargo::rerun-if-changed=build.rs");

    // Not by an environment variable of rustc, which `cargo test` and `cargo run` would pass on to every program.
    let shim = build(&workspace);
    let copy = Path::new(&variable("OUT_DIR")).join("libuinotify.so");
    if let Err(error) = std::fs::copy(&shim, &copy) {
        panic!("cannot copy {} to {}: {error}", shim.display(), copy.display());
    }
}

fn build(workspace: &Path) -> PathBuf {
    let target = variable("TARGET");
    let folder = Path::new(&variable("OUT_DIR")).join("shim");
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .args(["rustc", "--package", "uinotify-preload", "--lib", "--crate-type", "cdylib"])
        .args(["--profile", "shim", "--target", &target, "--locked", "--manifest-path"])
        .arg(workspace.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&folder)
        .arg("--")
        .args(SHIM_FLAGS);
    for name in OUTER_BUILD_ONLY {
        cargo.env_remove(name);
    }
    // Set, not removed: that also shadows the flags of a configuration file. A musl target links statically unless told
    // otherwise, and cargo then drops the shared library without a word.
    let flags = if target.ends_with("musl") { "-Ctarget-feature=-crt-static" } else { "" };
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags);

    let status = cargo.status().unwrap_or_else(|error| panic!("cannot start cargo to build the shim: {error}"));
    assert!(status.success(), "building the shim (package uinotify-preload, --cfg shim) failed: {status}");

    let shim = folder.join(&target).join("shim/libuinotify_preload.so");
    assert!(shim.is_file(), "cargo built the shim, but {} is not there", shim.display());
    shim
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|error| panic!("cargo sets {name} for a build script: {error}"))
}

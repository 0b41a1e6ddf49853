//! More files known than descriptors allowed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Result, ensure};

use crate::both::Scene;
use crate::server::{Kind, Server};

const FILES: usize = 8_000;
const FOLDER_FILES: usize = 500;

pub(crate) fn files_with_few_descriptors() -> Result<()> {
    let files = std::env::var("UINOTIFY_FILES").ok().and_then(|value| value.parse().ok()).unwrap_or(FILES);
    let scene = Scene::new()?;
    let (lower, seen) = (scene.path("lower"), scene.path("seen"));
    let path = |number: usize| format!("{}/{number}", number / FOLDER_FILES);
    for number in 0..files {
        if number % FOLDER_FILES == 0 {
            fs::create_dir(lower.join((number / FOLDER_FILES).to_string()))?;
        }
        fs::write(lower.join(path(number)), number.to_string())?;
    }
    let mut server = Server::start(Kind::Exact, &lower, &seen, Some(1024))?;
    // The kernel keeps what it knows: memory is not short.
    let mut numbers = BTreeMap::new();
    for number in 0..files {
        numbers.insert(number, fs::metadata(seen.join(path(number)))?.ino());
    }
    let known = server.known_objects()?;
    ensure!(known > files, "{known} objects are known");
    let descriptors = server.open_descriptors()?;
    ensure!(descriptors < 700, "{descriptors} descriptors are open");
    // Open files take theirs from what is only kept.
    let mut open = Vec::new();
    for number in (0..files).step_by(files / 850) {
        open.push((number, fs::File::open(seen.join(path(number)))?));
    }
    // All are the ones that they were, also where folders were renamed and files removed behind a descriptor that had to go.
    fs::rename(seen.join("0"), seen.join("moved"))?;
    for (number, inode) in &numbers {
        let place = seen.join(path(*number));
        let place = if *number < FOLDER_FILES { seen.join("moved").join(number.to_string()) } else { place };
        ensure!(fs::metadata(&place)?.ino() == *inode, "{} is another", place.display());
        if number % 97 == 0 {
            ensure!(fs::read_to_string(&place)? == number.to_string(), "{} has other bytes", place.display());
        }
    }
    for (number, file) in open {
        ensure!(std::io::read_to_string(&file)? == number.to_string(), "open file {number} has other bytes");
    }
    Ok(())
}

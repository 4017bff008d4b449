//! A copy of the tree to break things in.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Copy {
    pub tree: PathBuf,
    pub target: PathBuf,
}

impl Copy {
    /// Brings the copy up to date. Files that have not changed keep their times, so that only what
    /// has is compiled again.
    pub fn make(root: &Path) -> Self {
        // This very binary lies in `target/PROFILE/deps`.
        let profile = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned();
        let home = profile.parent().unwrap().join("mutants");
        let copy = Self { tree: home.join("tree"), target: home.join("target") };
        if !copy.target.exists() {
            warm(&profile, &copy.target.join("debug"));
        }
        let wanted: BTreeSet<PathBuf> = files(root).into_iter().collect();
        for file in &wanted {
            copy.put(file, &fs::read(root.join(file)).unwrap());
        }
        for stray in every_file(&copy.tree).into_iter().filter(|file| !wanted.contains(file)) {
            fs::remove_file(copy.tree.join(stray)).unwrap();
        }
        copy
    }

    /// Writes a file of the copy, unless it is so already.
    pub fn put(&self, file: &Path, text: &[u8]) {
        let place = self.tree.join(file);
        if fs::read(&place).is_ok_and(|there| there == text) {
            return;
        }
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::write(place, text).unwrap();
    }

    pub fn read(&self, file: &Path) -> String {
        fs::read_to_string(self.tree.join(file)).unwrap()
    }
}

/// What git would have of the tree, were everything committed.
fn files(root: &Path) -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .unwrap();
    assert!(listed.status.success(), "git can't list the files");
    let text = String::from_utf8(listed.stdout).unwrap();
    text.split_terminator('\0').map(PathBuf::from).filter(|file| root.join(file).is_file()).collect()
}

fn every_file(tree: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(tree.join(&folder)).into_iter().flatten().map(Result::unwrap) {
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found
}

/// Takes over what is compiled of others: all but this package itself.
fn warm(from: &Path, to: &Path) {
    let own = ["bondflow", "bondflowd", "workflowctl", "libbondflow", "it", "worlds"];
    for folder in ["deps", "build", ".fingerprint"] {
        fs::create_dir_all(to.join(folder)).unwrap();
        for entry in fs::read_dir(from.join(folder)).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if name.split(['-', '.']).next().is_some_and(|first| own.contains(&first)) {
                continue;
            }
            let copied = Command::new("cp").arg("-a").arg(entry.path()).arg(to.join(folder)).status().unwrap();
            assert!(copied.success(), "{name} can't be copied");
        }
    }
}

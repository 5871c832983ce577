//! Puts into the program what lies beside its source: the migrations, and natively the HUD, which is the files of
//! `build/hud` that `npm run native` bundles, or a page that says so.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

/// Path, media type.
const FILES: &[(&str, &str)] = &[
    ("index.html", "text/html; charset=utf-8"),
    ("job.html", "text/html; charset=utf-8"),
    ("hud.css", "text/css; charset=utf-8"),
    ("hud.js", "text/javascript; charset=utf-8"),
    ("job-page.js", "text/javascript; charset=utf-8"),
    ("theme.js", "text/javascript; charset=utf-8"),
    ("admin.html", "text/html; charset=utf-8"),
    ("admin.css", "text/css; charset=utf-8"),
    ("admin.js", "text/javascript; charset=utf-8"),
    ("bunker.js", "text/javascript; charset=utf-8"),
    ("icon.svg", "image/svg+xml"),
];
const MISSING: &str = "<!doctype html><title>Nexus</title><p>This is a Nostr relay. Its HUD was not bundled into this \
     program: run <code>npm run native</code>, then build it again.";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build/hud");
    println!("cargo::rerun-if-changed=migrations");
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let out = env::var("OUT_DIR").expect("cargo sets it");
    migrations(&Path::new(&root).join("migrations"), Path::new(&out));
    if env::var_os("CARGO_FEATURE_NATIVE").is_some() {
        hud(&Path::new(&root).join("build/hud"), Path::new(&out));
    }
}

/// The names and texts of all migrations in their order: `0001_….sql`, `0002_….sql` and so on, with no number left out.
fn migrations(folder: &Path, out: &Path) {
    let entries = fs::read_dir(folder).expect("there are migrations");
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "sql"));
    files.sort();
    let mut list = String::from("&[");
    for (at, path) in files.iter().enumerate() {
        let name = path.file_name().expect("it is a file").to_string_lossy();
        let begins = format!("{:04}_", at + 1);
        assert!(
            name.starts_with(&begins),
            "migrations/{name} is the next migration: its name must begin with {begins}"
        );
        let _ = write!(list, "Migration {{ name: {name:?}, sql: include_str!({path:?}) }},");
    }
    list.push(']');
    fs::write(out.join("migrations.rs"), list).expect("the folder can be written to");
}

fn hud(folder: &Path, out: &Path) {
    let mut list = String::from("&[");
    // Copies, as the folder is made anew when the Worker is built.
    let copy = |name: &str| fs::copy(folder.join(name), out.join(name)).is_ok();
    if FILES.iter().all(|(name, _)| copy(name)) {
        for (name, kind) in FILES {
            let _ = write!(list, "({:?}, {kind:?}, include_bytes!({:?})),", format!("/{name}"), out.join(name));
        }
    } else {
        println!("cargo::warning=the HUD is not bundled: run `npm run native` first to have it in the program");
        let _ = write!(list, "(\"/index.html\", {:?}, {MISSING:?}.as_bytes()),", FILES[0].1);
    }
    list.push(']');
    fs::write(out.join("hud.rs"), list).expect("the folder can be written to");
}

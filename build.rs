//! Puts the HUD into the native program: the files of `build/hud`, which `npm run native` bundles, or a page that
//! says so.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

/// Path, media type.
const FILES: &[(&str, &str)] = &[
    ("index.html", "text/html; charset=utf-8"),
    ("hud.css", "text/css; charset=utf-8"),
    ("hud.js", "text/javascript; charset=utf-8"),
    ("theme.js", "text/javascript; charset=utf-8"),
    ("icon.svg", "image/svg+xml"),
];
const MISSING: &str = "<!doctype html><title>Nexus</title><p>This is a Nostr relay. Its HUD was not bundled into this \
     program: run <code>npm run native</code>, then build it again.";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build/hud");
    if env::var_os("CARGO_FEATURE_NATIVE").is_none() {
        return;
    }
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let out = env::var("OUT_DIR").expect("cargo sets it");
    let folder = Path::new(&root).join("build/hud");
    let mut list = String::from("&[");
    // Copies, as the folder is made anew when the Worker is built.
    let copy = |name: &str| fs::copy(folder.join(name), Path::new(&out).join(name)).is_ok();
    if FILES.iter().all(|(name, _)| copy(name)) {
        for (name, kind) in FILES {
            let _ =
                write!(list, "({:?}, {kind:?}, include_bytes!({:?})),", format!("/{name}"), Path::new(&out).join(name));
        }
    } else {
        println!("cargo::warning=the HUD is not bundled: run `npm run native` first to have it in the program");
        let _ = write!(list, "(\"/index.html\", {:?}, {MISSING:?}.as_bytes()),", FILES[0].1);
    }
    list.push(']');
    fs::write(Path::new(&out).join("hud.rs"), list).expect("the folder can be written to");
}

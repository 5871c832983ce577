//! Replays the corpus of the fuzz targets on stable: every kept input goes through the same functions.

#[path = "../fuzz/targets.rs"]
mod targets;

fn replay(target: &str, run: fn(&str)) {
    let mut count = 0;
    for entry in std::fs::read_dir(format!("fuzz/corpus/{target}")).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        run(&String::from_utf8_lossy(&std::fs::read(&path).unwrap()));
        count += 1;
    }
    assert!(count >= 10, "{count} inputs of {target}");
}

#[test]
fn frames() {
    replay("frames", targets::frames);
}

#[test]
fn filters() {
    replay("filters", targets::filters);
}

#[test]
fn attachments() {
    replay("attachments", targets::attachments);
}

//! Files in `/tmp`.

use std::fs::{self, File, OpenOptions};
use std::io::{Result, Seek, SeekFrom, Write};

use serde_json::{Value, json};

/// Makes, appends to, moves, lists and reads files; writes far beyond the end of one; and looks for what is outside.
pub fn work() -> Result<Value> {
    let before = names()?;
    fs::create_dir("/tmp/folder")?;
    fs::write("/tmp/folder/one.txt", "tea ☕")?;
    let mut one = OpenOptions::new().append(true).open("/tmp/folder/one.txt")?;
    one.write_all(b" and more")?;
    drop(one);
    fs::rename("/tmp/folder/one.txt", "/tmp/two.txt")?;
    let text = fs::read_to_string("/tmp/two.txt")?;
    let mut file = File::create("/tmp/far")?;
    file.seek(SeekFrom::Start(1 << 40))?;
    let far = file.write_all(b"x").is_ok();
    fs::remove_file("/tmp/far")?;
    let outside = fs::write("/outside", "x").is_ok() || fs::read("/tmp/../etc/passwd").is_ok();
    Ok(json!({ "before": before, "text": text, "names": names()?, "far": far, "outside": outside }))
}

fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir("/tmp")? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

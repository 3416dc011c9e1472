//! Two things: the list of the built window's files, so that `serve` carries them, and, for the desktop, what Tauri
//! generates from its configuration.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    window_files()?;
    #[cfg(feature = "desktop")]
    desktop();
    Ok(())
}

/// Without `ui/dist` the list is empty and the program says how to build the window.
fn window_files() -> io::Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?);
    let dist = root.join("ui/dist");
    // A path that does not exist makes cargo run this again each time: that is how a first build of the window is seen.
    println!("cargo:rerun-if-changed=ui/dist");
    println!("cargo:rerun-if-changed=src-tauri/build.rs");
    let mut files = Vec::new();
    if dist.join("index.html").exists() {
        walk(&dist, &mut files)?;
    }
    let mut named = Vec::new();
    for path in &files {
        let name = path.strip_prefix(&dist).map_err(io::Error::other)?;
        named.push((name.to_string_lossy().replace('\\', "/"), path));
    }
    // By the text of the name, which is how they are looked up.
    named.sort();
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    // Copies, because the next build of the window may remove a file between this and the compiler's look at it.
    let copies = out.join("window");
    fs::create_dir_all(&copies)?;
    let mut text = String::from("&[\n");
    for (number, (name, path)) in named.iter().enumerate() {
        let copy = copies.join(number.to_string());
        fs::copy(path, &copy)?;
        writeln!(text, "    ({name:?}, include_bytes!({copy:?})),").map_err(io::Error::other)?;
    }
    text.push_str("]\n");
    fs::write(out.join("window_files.rs"), text)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => walk(&path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}

/// The commands listed here are refused to a window whose capability does not name them; commands that are not listed
/// would be open to every local page.
#[cfg(feature = "desktop")]
fn desktop() {
    // Tauri says this only for its own default folder.
    println!("cargo:rerun-if-changed=src-tauri/capabilities");
    let manifest =
        tauri_build::AppManifest::new().commands(&["rpc", "hints", "leave", "open_link"]);
    let attributes = tauri_build::Attributes::new()
        .capabilities_path_pattern("src-tauri/capabilities/**/*")
        .app_manifest(manifest);
    if let Err(error) = tauri_build::try_build(attributes) {
        println!("cargo:warning={error:#}");
        std::process::exit(1);
    }
}

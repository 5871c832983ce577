//! The HUD's files, as they were when the program was built.

/// Path, media type, content.
pub type File = (&'static str, &'static str, &'static [u8]);

/// All of them.
pub const FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/hud.rs"));

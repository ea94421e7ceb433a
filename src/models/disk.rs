//! A folder of our own, outside of the model folders: those may belong to another program, or be
//! mounted read-only.

use std::{env, path::PathBuf};

/// `XDG_CACHE_HOME/vila2`, else `~/.cache/vila2`; `None` where there is no home. Nothing in it is
/// needed: what is gone is made again.
pub(super) fn own_folder() -> Option<PathBuf> {
    let folder = |name: &str| {
        let value = env::var_os(name).filter(|value| !value.is_empty())?;
        Some(PathBuf::from(value)).filter(|path| path.is_absolute())
    };
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    Some(cache?.join("vila2"))
}

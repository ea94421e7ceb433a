//! Published folders for photographs that the adapters read: what `models list` and `models pull`
//! name to a person who has none.

/// A folder of the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// `organisation/name`, for `vila2 models pull`.
    pub repository: &'static str,
    /// Its parameters, in millions.
    pub millions: u64,
    /// Bytes of its graphs in full precision: four for every parameter.
    pub bytes: u64,
    /// Bytes that the process takes of memory in full precision with one picture at a time, cut into
    /// 17 tiles: measured on the CPU with random weights in the same shapes. Of the largest two of
    /// the 24 layers of text were there; weights and cache of the others are added.
    pub memory: u64,
    /// Its licence, by its SPDX name.
    pub licence: &'static str,
}

/// The folder to begin with.
pub const FIRST: &str = "HuggingFaceTB/SmolVLM-500M-Instruct";

const APACHE: &str = "Apache-2.0";
const GB: u64 = 1_000_000_000;

/// The folders of the SmolVLM family that hold graphs, smallest first. (SmolVLM2 of 2.2 B
/// parameters was published without.)
pub const PUBLISHED: [Published; 5] = [
    smolvlm("HuggingFaceTB/SmolVLM-256M-Instruct", 256, 4),
    smolvlm("HuggingFaceTB/SmolVLM2-256M-Video-Instruct", 256, 4),
    smolvlm(FIRST, 508, 5),
    smolvlm("HuggingFaceTB/SmolVLM2-500M-Video-Instruct", 508, 5),
    smolvlm("HuggingFaceTB/SmolVLM-Instruct", 2_246, 13),
];

const fn smolvlm(repository: &'static str, millions: u64, memory: u64) -> Published {
    Published {
        repository,
        millions,
        bytes: millions * 4_000_000,
        memory: memory * GB,
        licence: APACHE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_a_repository_and_needs_more_memory_than_its_graphs_are_large() {
        for folder in PUBLISHED {
            let (organisation, name) = folder.repository.split_once('/').expect("a repository");
            assert!(!organisation.is_empty() && !name.contains('/'), "{name}");
            assert!(folder.memory > folder.bytes, "{name}");
        }
        assert!(PUBLISHED.iter().any(|folder| folder.repository == FIRST));
    }
}

use super::*;

const PINNED: &str = "libonnxruntime.so.1.31.1";
const READER: &str = "target/runtime/rapidocr_onnxruntime/models";

/// A root in which a test lays out files.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a scratch folder"))
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn file(&self, path: &str) -> PathBuf {
        let file = self.path(path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("folders");
        fs::write(&file, "").expect("a file");
        file
    }

    fn folder(&self, path: &str) -> PathBuf {
        let folder = self.path(path);
        fs::create_dir_all(&folder).expect("folders");
        folder
    }

    /// A program in a folder of the root, started in its folder `work`.
    fn program(&self, folder: &str) -> Program {
        Program {
            working: self.folder("work"),
            folder: Some(self.folder(folder)),
        }
    }
}

fn located(program: &Program, path: &str) -> Option<PathBuf> {
    let places = program.places(Path::new(path));
    places.into_iter().find(|place| place.exists())
}

#[test]
fn the_library_of_a_source_tree_comes_before_one_beside_the_program_and_that_before_pythons() {
    let root = Root::new();
    let program = root.program("tree/bin");
    assert!(program.library(PINNED).is_err());
    // From the last place of the order to the first: each comes before those made before it.
    for folder in [
        "tree/onnxruntime/capi",
        "tree/lib/python3.9/site-packages/onnxruntime/capi",
        "tree/lib/python3.12/dist-packages/onnxruntime/capi",
        "tree/lib/python3.12/site-packages/onnxruntime/capi",
        "tree/bin/onnxruntime/capi",
        "tree/bin",
        "target/runtime/onnxruntime/capi",
        "tree/target/runtime/onnxruntime/capi",
        "tree/bin/target/runtime/onnxruntime/capi",
        "work/target/runtime/onnxruntime/capi",
    ] {
        let file = root.file(&format!("{folder}/{PINNED}"));
        assert_eq!(program.library(PINNED), Ok(file));
    }
}

#[test]
fn the_pinned_library_comes_before_a_later_one_and_that_before_an_earlier_one() {
    let root = Root::new();
    let program = root.program("env/bin");
    let capi = "env/lib/python3.11/site-packages/onnxruntime/capi";
    root.file(&format!("{capi}/libonnxruntime_providers_shared.so"));
    root.file(&format!("{capi}/libonnxruntime.so.old"));
    root.folder(&format!("{capi}/libonnxruntime.so.2.0.0"));
    assert!(program.library(PINNED).is_err());
    for name in [
        "libonnxruntime.so",
        "libonnxruntime.so.1",
        "libonnxruntime.so.1.9.0",
        "libonnxruntime.so.1.32.0",
        PINNED,
    ] {
        let file = root.file(&format!("{capi}/{name}"));
        assert_eq!(program.library(PINNED), Ok(file));
    }
}

#[test]
fn a_library_that_is_nowhere_is_told_with_every_place_in_order() {
    let root = Root::new();
    let program = root.program("env/bin");
    root.folder("env/lib/python3.11/site-packages");
    let searched = program.library(PINNED).expect_err("there is none");
    let inside = searched.iter().filter(|place| place.starts_with(&root.0));
    let inside: Vec<_> = inside.cloned().collect();
    let tree = "target/runtime/onnxruntime/capi";
    let expected = [
        &format!("work/{tree}"),
        &format!("env/bin/{tree}"),
        &format!("env/{tree}"),
        tree,
        "env/bin",
        "env/bin/onnxruntime/capi",
        "env/lib/python3.11/site-packages/onnxruntime/capi",
        "env/onnxruntime/capi",
    ];
    assert_eq!(inside, expected.map(|place| root.path(place).join(PINNED)));
    // Above the root there is more of the file system, up to its own root.
    assert!(searched.contains(&Path::new("/").join(tree).join(PINNED)));
}

#[test]
fn the_shipped_model_is_found_in_every_layout() {
    for (program, model) in [
        ("tree/target/release", "tree/models/scenes"),
        (
            "vila2-0.1.0-x86_64-linux",
            "vila2-0.1.0-x86_64-linux/models/scenes",
        ),
        ("opt/vila2/bin", "opt/vila2/models/scenes"),
        ("env/bin", "env/share/vila2/models/scenes"),
        ("elsewhere", "work/models/scenes"),
    ] {
        let root = Root::new();
        let program = root.program(program);
        assert_eq!(located(&program, "models/scenes"), None);
        let model = root.folder(model);
        assert_eq!(located(&program, "models/scenes"), Some(model));
    }
}

#[test]
fn the_text_reader_is_found_in_every_layout() {
    let models = "rapidocr_onnxruntime/models";
    for (program, reader) in [
        ("tree/target/release", "tree/target/runtime".to_owned()),
        (
            "vila2-0.1.0-x86_64-linux",
            "vila2-0.1.0-x86_64-linux".to_owned(),
        ),
        ("env/bin", "env/lib/python3.11/site-packages".to_owned()),
        (
            "usr/bin",
            "usr/local/lib/python3.11/dist-packages".to_owned(),
        ),
        (
            "conda/bin",
            "conda/lib64/python3.10/site-packages".to_owned(),
        ),
        ("target/bin", "target".to_owned()),
    ] {
        let root = Root::new();
        let program = root.program(program);
        assert_eq!(located(&program, READER), None);
        let reader = root.folder(&format!("{reader}/{models}"));
        assert_eq!(located(&program, READER), Some(reader));
    }
}

#[test]
fn a_lib64_that_leads_to_lib_is_not_searched_twice() {
    let root = Root::new();
    let program = root.program("env/bin");
    root.folder("env/lib/python3.11/site-packages");
    std::os::unix::fs::symlink("lib", root.path("env/lib64")).expect("a link");
    let packages = program.in_python(Path::new("x"));
    let expected = ["env/lib/python3.11/site-packages/x", "env/x"];
    assert_eq!(packages, expected.map(|place| root.path(place)));
}

#[test]
fn absolute_paths_are_looked_for_nowhere_else() {
    let program = Root::new().program("bin");
    let path = Path::new("/nowhere/models/scenes");
    assert_eq!(program.places(path), [path]);
    assert_eq!(locate(path), path);
    assert_eq!(no_folder(path), "/nowhere/models/scenes is no folder");
}

#[test]
fn a_folder_that_is_nowhere_is_told_with_every_place() {
    let told = no_folder(Path::new("nobodys/model"));
    let (problem, places) = told.split_once("; looked for ").expect("places");
    assert_eq!(problem, "nobodys/model is no folder");
    let places: Vec<_> = places.split(", ").collect();
    let program = env::current_exe().expect("a program");
    let folder = program.parent().expect("a folder");
    let prefix = folder.parent().expect("a folder above");
    assert_eq!(places[0], "nobodys/model");
    assert_eq!(places[1], folder.join("nobodys/model").to_string_lossy());
    let last = prefix.join("share/vila2/nobodys/model");
    assert_eq!(places[places.len() - 1], last.to_string_lossy());
    assert_eq!(places.len(), folder.ancestors().count() + 2);
}

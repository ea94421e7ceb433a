//! Sources that change while they are read.

use super::*;

/// What reading ends with after `change` came in the middle of it, and how many entries it gave.
fn read_while(list: &Path, change: impl FnOnce()) -> (usize, Option<Fault>) {
    let inputs = opened(&[list]);
    let mut read = inputs.read(Place::default());
    let mut entries = usize::from(read.next().unwrap().is_ok());
    change();
    let mut fault = None;
    for item in read {
        match item {
            Ok(_) => entries += 1,
            Err(error) => fault = Some(error),
        }
    }
    (entries, fault)
}

#[test]
fn a_list_that_becomes_shorter_while_it_is_read_has_not_come_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("many.txt");
    let line =
        |number: usize| format!("http://127.0.0.1:9/{number}/a/picture/with/a/long/name.jpg\n");
    let text: String = (0..20_000).map(line).collect();
    fs::write(&list, &text).unwrap();
    assert_eq!(read_while(&list, || {}), (20_000, None));
    let (entries, fault) = read_while(&list, || fs::write(&list, &text[..5_000]).unwrap());
    assert!(entries < 20_000, "{entries}");
    let fault = fault.unwrap().to_string();
    for part in ["many.txt", "changed while it was read", "--again all"] {
        assert!(fault.contains(part), "{fault}");
    }
    fs::write(&list, &text).unwrap();
    let (_, fault) = read_while(&list, || fs::remove_file(&list).unwrap());
    assert!(
        fault
            .unwrap()
            .to_string()
            .contains("cannot be read any more")
    );
}

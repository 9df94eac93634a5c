use std::sync::Arc;

use super::*;
use crate::config::{Limit, Source};
use crate::sandbox::run::memory::MemoryBudget;

/// Opens a file to write it, and makes it where there is none.
fn open(tree: &mut Tree, from: u64, path: &str) -> Result<u64> {
    tree.open(from, path, OpenFlags::CREATE, true)
}

/// A tree of no more than so much, in an attempt of no more than so many bytes.
fn tree_of(bytes: usize, files: usize, max_memory: usize) -> (Tree, Account) {
    let mut limits = Limits::default();
    for (limit, value) in [(Limit::TmpBytes, bytes), (Limit::TmpFiles, files)] {
        limits.set(limit, value as u64, value as u64, Source::Host);
    }
    let account = Account::new(Arc::new(MemoryBudget::new(1 << 30, 1)), max_memory);
    (Tree::new(&limits, account.clone()), account)
}

fn tree() -> Tree {
    tree_of(1 << 20, 100, 1 << 30).0
}

fn told<T: std::fmt::Debug>(result: Result<T>) -> ErrorCode {
    match result {
        Err(Refusal::Told(code)) => code,
        other => panic!("{other:?}"),
    }
}

fn names(tree: &Tree, folder: u64) -> Vec<String> {
    let mut names = Vec::new();
    while let Some((name, _)) = tree.next_entry(folder, names.last().map(String::as_str)).unwrap() {
        names.push(name);
    }
    names
}

#[test]
fn files_are_written_read_moved_and_deleted() {
    let mut tree = tree();
    tree.make_folder(ROOT, "a").unwrap();
    let file = open(&mut tree, ROOT, "a/./../a/x").unwrap();
    tree.write(file, Some(3), b"defg").unwrap();
    tree.write(file, Some(0), b"abcD").unwrap();
    tree.write(file, None, b"h").unwrap();
    assert_eq!(tree.read(file, 0, 100).unwrap(), b"abcDefgh");
    assert_eq!(tree.read(file, 6, 1).unwrap(), b"g");
    assert_eq!(tree.read(file, u64::MAX, 1).unwrap(), b"");
    tree.set_size(file, 2).unwrap();
    tree.set_size(file, 4).unwrap();
    assert_eq!(tree.read(file, 0, 100).unwrap(), b"ab\0\0");
    tree.rename(ROOT, "a/x", ROOT, "y").unwrap();
    assert_eq!(
        (names(&tree, ROOT), tree.find(ROOT, "y").unwrap()),
        (vec!["a".into(), "y".into()], file)
    );
    assert_eq!(tree.open(ROOT, "y", OpenFlags::TRUNCATE, true).unwrap(), file);
    assert_eq!(tree.facts(file).unwrap().size, 0);
    tree.remove(ROOT, "y", false).unwrap();
    tree.remove(ROOT, "a/", true).unwrap();
    assert_eq!(told(tree.find(ROOT, "y")), ErrorCode::NoEntry);
    assert_eq!((tree.quota.bytes(), tree.nodes.len()), (0, 1));
}

#[test]
fn what_cannot_be_is_refused() {
    let mut tree = tree();
    tree.make_folder(ROOT, "a").unwrap();
    tree.make_folder(ROOT, "a/b").unwrap();
    let file = open(&mut tree, ROOT, "x").unwrap();
    let inner = tree.find(ROOT, "a/b").unwrap();
    for (path, code) in [
        ("", ErrorCode::NoEntry),
        ("/tmp/x", ErrorCode::NotPermitted),
        ("..", ErrorCode::NotPermitted),
        ("a/../../x", ErrorCode::NotPermitted),
        ("a\0b", ErrorCode::Invalid),
        ("x/y", ErrorCode::NotDirectory),
        ("x/..", ErrorCode::NotDirectory),
        ("c/y", ErrorCode::NoEntry),
        ("a", ErrorCode::IsDirectory),
        ("a/.", ErrorCode::IsDirectory),
        ("new/", ErrorCode::Invalid),
        (&"n".repeat(256), ErrorCode::NameTooLong),
        (&"n/".repeat(2049), ErrorCode::NameTooLong),
        (&format!("/{}", "n/".repeat(2048)), ErrorCode::NameTooLong),
    ] {
        assert_eq!(told(open(&mut tree, ROOT, path)), code, "{path:?}");
    }
    assert_eq!(
        told(tree.find(inner, "..")),
        ErrorCode::NotPermitted,
        "out of where it began"
    );
    let exclusive = OpenFlags::CREATE | OpenFlags::EXCLUSIVE;
    assert_eq!(told(tree.open(ROOT, "x", exclusive, true)), ErrorCode::Exist);
    let folder = OpenFlags::DIRECTORY;
    assert_eq!(told(tree.open(ROOT, "x", folder, false)), ErrorCode::NotDirectory);
    assert_eq!(told(tree.make_folder(ROOT, "x")), ErrorCode::Exist);
    assert_eq!(told(tree.remove(ROOT, "a", true)), ErrorCode::NotEmpty);
    assert_eq!(told(tree.remove(ROOT, "a", false)), ErrorCode::IsDirectory);
    assert_eq!(told(tree.remove(ROOT, "x", true)), ErrorCode::NotDirectory);
    assert_eq!(told(tree.remove(ROOT, ".", true)), ErrorCode::NotEmpty);
    assert_eq!(
        told(tree.rename(ROOT, "a", ROOT, "a/b/c")),
        ErrorCode::Invalid,
        "into itself"
    );
    assert_eq!(told(tree.rename(ROOT, ".", inner, "c")), ErrorCode::Busy);
    assert_eq!(told(tree.rename(ROOT, "x", ROOT, "a")), ErrorCode::IsDirectory);
    assert_eq!(told(tree.rename(ROOT, "a", ROOT, "x")), ErrorCode::NotDirectory);
    assert_eq!(told(tree.rename(ROOT, "x", ROOT, "y/")), ErrorCode::NotDirectory);
    tree.rename(ROOT, "x", ROOT, "x").unwrap();
    tree.rename(ROOT, "x", inner, "y").unwrap();
    assert_eq!(tree.find(ROOT, "a/b/y").unwrap(), file);
}

#[test]
fn no_more_is_kept_than_the_limits_allow() {
    let (mut tree, account) = tree_of(100_000, 10, 1 << 30);
    let file = open(&mut tree, ROOT, "x").unwrap();
    for offset in [1 << 60, u64::MAX, u64::MAX - 1, 100_000] {
        let refused = told(tree.write(file, Some(offset), b"x"));
        assert!(
            matches!(refused, ErrorCode::InsufficientSpace | ErrorCode::FileTooLarge),
            "{offset}"
        );
    }
    for size in [1 << 60, u64::MAX] {
        assert_eq!(told(tree.set_size(file, size)), ErrorCode::InsufficientSpace);
    }
    let mut written = 0;
    while tree.write(file, None, &[1; 1000]).is_ok() {
        written += 1000;
        assert!(tree.quota.bytes() <= 100_000, "{}", tree.quota.bytes());
    }
    assert!(written > 90_000, "{written}");
    tree.set_size(file, 0).unwrap();
    assert!(tree.quota.bytes() < 1000, "{}", tree.quota.bytes());
    let mut folders = 1;
    let mut path = "d".to_owned();
    while tree.make_folder(ROOT, &path).is_ok() {
        folders += 1;
        path += "/d";
    }
    assert_eq!(folders, 10);
    assert!(account.peak() <= 100_000, "{}", account.peak());
    tree.clear();
    assert_eq!((tree.quota.bytes(), names(&tree, ROOT).len()), (0, 0));
    assert_eq!(told(tree.facts(file)), ErrorCode::BadDescriptor);
}

#[test]
fn files_count_as_the_attempts_memory() {
    let (mut tree, account) = tree_of(1 << 20, 10, 100_000);
    account.hold_memory(50_000).unwrap();
    let file = open(&mut tree, ROOT, "x").unwrap();
    tree.write(file, None, &vec![1; 20_000]).unwrap();
    assert!((70_000..75_000).contains(&account.peak()), "{}", account.peak());
    assert!(matches!(
        tree.write(file, None, &vec![1; 40_000]),
        Err(Refusal::Exceeded(Exceeded::Own { .. }))
    ));
    tree.remove(ROOT, "x", false).unwrap();
    account.hold_memory(100_000).unwrap();
}

#[test]
fn what_is_open_stays_until_it_is_closed() {
    let mut tree = tree();
    let file = open(&mut tree, ROOT, "x").unwrap();
    tree.hold(file);
    tree.write(file, None, b"x").unwrap();
    tree.remove(ROOT, "x", false).unwrap();
    assert_eq!(tree.read(file, 0, 9).unwrap(), b"x");
    let other = open(&mut tree, ROOT, "x").unwrap();
    assert_ne!(file, other);
    tree.let_go(file);
    assert_eq!(told(tree.facts(file)), ErrorCode::BadDescriptor);
    tree.make_folder(ROOT, "d").unwrap();
    let folder = tree.find(ROOT, "d").unwrap();
    tree.hold(folder);
    tree.remove(ROOT, "d", true).unwrap();
    assert_eq!(
        told(open(&mut tree, folder, "lost")),
        ErrorCode::NoEntry,
        "a folder that is gone"
    );
    assert_eq!(told(tree.rename(ROOT, "x", folder, "lost")), ErrorCode::NoEntry);
    assert_eq!(tree.find(ROOT, "x").unwrap(), other, "it is where it was");
    tree.hold(other);
    let replacing = open(&mut tree, ROOT, "y").unwrap();
    tree.rename(ROOT, "y", ROOT, "x").unwrap();
    assert_eq!(
        (tree.find(ROOT, "x").unwrap(), tree.facts(other).is_ok()),
        (replacing, true)
    );
}

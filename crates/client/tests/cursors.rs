//! Cursors as text, and in files that may be torn.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use multibeam_client::{
    Cursor, CursorError, CursorStore, CursorStoreError, FileCursorStore, MemoryCursorStore, PartitionId,
    Position, SavedCursor,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;

fn cursors() -> impl Strategy<Value = Cursor> {
    let position = (any::<u64>(), any::<u64>()).prop_map(|(g, o)| Position::new(g, o));
    let parts =
        proptest::collection::btree_map(any::<u32>().prop_map(PartitionId), position.clone(), 1..=256);
    prop_oneof![
        position.prop_map(Cursor::of_topic),
        parts.prop_map(|parts: BTreeMap<_, _>| Cursor::of_filter(parts).unwrap()),
    ]
}

proptest! {
    #[test]
    fn a_cursor_survives_as_text(cursor in cursors()) {
        let text = cursor.to_string();
        prop_assert!(text.len() <= 16 * 1024 && !text.contains(char::is_whitespace));
        prop_assert_eq!(text.parse::<Cursor>(), Ok(cursor));
    }

    #[test]
    fn no_text_panics(text in "[0-9:/=,+ -]{0,40}") {
        if let Ok(cursor) = text.parse::<Cursor>() {
            prop_assert_eq!(cursor.to_string().parse::<Cursor>(), Ok(cursor));
        }
    }
}

#[test]
fn the_text_of_a_cursor_is_short_and_strict() {
    assert_eq!("1:42".parse(), Ok(Cursor::of_topic(Position::new(1, 42))));
    let filter = Cursor::of_filter([
        (PartitionId(4), Position::new(1, 7)),
        (PartitionId(2 << 16 | 3), Position::new(2, 0)),
    ]);
    assert_eq!(filter.as_ref().map(Cursor::to_string).unwrap(), "0/4=1:7,2/3=2:0");
    assert_eq!("2/3=2:0,0/4=1:7".parse(), filter, "in any order");
    for bad in [
        "",
        "1",
        "1:",
        ":1",
        "1:2:3",
        "+1:2",
        "-1:2",
        " 1:2",
        "1:2,",
        "0/4=1:7,",
        "0/4=1",
        "4=1:7",
        "0/65536=1:7",
        "0/4=1:7 ",
    ] {
        assert_eq!(bad.parse::<Cursor>(), Err(CursorError::Malformed), "{bad:?}");
    }
    assert_eq!("0/4=1:7,0/4=1:8".parse::<Cursor>(), Err(CursorError::Repeated(PartitionId(4))));
    assert_eq!(Cursor::of_filter([]), Err(CursorError::Empty));
    let many = (0..257).map(|number| (PartitionId(number), Position::new(1, 1)));
    assert_eq!(Cursor::of_filter(many), Err(CursorError::TooManyParts));
}

/// A folder of one test, removed when the test succeeds.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("multibeam-client-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

fn saved(offset: u64) -> SavedCursor {
    SavedCursor { topic: "alarm.>".to_owned(), cursor: format!("0/3=1:{offset},0/4=1:7").parse().unwrap() }
}

#[tokio::test]
async fn stores_keep_the_last_cursor_of_each_name() {
    let folder = Folder::new("names");
    let (file, memory) = (FileCursorStore::open(&folder.0).unwrap(), MemoryCursorStore::new());
    keeps(&file).await;
    keeps(&memory).await;
    // What another process finds.
    assert_eq!(FileCursorStore::open(&folder.0).unwrap().load("a").await, Ok(Some(saved(3))));
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 2, "nothing else is left");
}

async fn keeps(store: &impl CursorStore) {
    assert_eq!(store.load("a").await, Ok(None));
    for offset in 1..=3 {
        store.save("a", &saved(offset)).await.unwrap();
        assert_eq!(store.load("a").await, Ok(Some(saved(offset))));
    }
    assert_eq!(store.load("b").await, Ok(None));
    let topic = SavedCursor { topic: "a.b".to_owned(), cursor: "1:9".parse().unwrap() };
    store.save("b", &topic).await.unwrap();
    assert_eq!((store.load("a").await, store.load("b").await), (Ok(Some(saved(3))), Ok(Some(topic))));
}

/// A crash before the rename leaves a file beside the cursor, cut anywhere.
#[tokio::test]
async fn a_save_that_was_cut_off_leaves_the_cursor_before_it() {
    let folder = Folder::new("beside");
    let store = FileCursorStore::open(&folder.0).unwrap();
    store.save("a", &saved(1)).await.unwrap();
    fs::write(folder.0.join("a.cursor.new"), "multibeam-cur").unwrap();
    assert_eq!(store.load("a").await, Ok(Some(saved(1))));
    store.save("a", &saved(2)).await.unwrap();
    assert_eq!(store.load("a").await, Ok(Some(saved(2))));
}

/// Who has the old file open goes on reading it: it is replaced, never written over.
#[cfg(unix)]
#[tokio::test]
async fn a_save_does_not_touch_the_file_before_it() {
    let folder = Folder::new("replaced");
    let store = FileCursorStore::open(&folder.0).unwrap();
    store.save("a", &saved(1)).await.unwrap();
    let before = fs::read(store.path("a").unwrap()).unwrap();
    let mut opened = fs::File::open(store.path("a").unwrap()).unwrap();
    store.save("a", &saved(22)).await.unwrap();
    let mut read = Vec::new();
    opened.read_to_end(&mut read).unwrap();
    assert_eq!(read, before);
}

#[tokio::test]
async fn a_torn_file_is_an_error_and_never_a_start_from_new() {
    let folder = Folder::new("torn");
    let store = FileCursorStore::open(&folder.0).unwrap();
    store.save("a", &saved(1)).await.unwrap();
    let path = store.path("a").unwrap();
    let whole = fs::read(&path).unwrap();
    for len in 0..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        let error = store.load("a").await.unwrap_err();
        assert!(matches!(error, CursorStoreError::Torn { .. }), "{len} bytes: {error}");
        assert!(!error.is_retryable());
    }
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&path, &damaged).unwrap();
        assert!(store.load("a").await.is_err(), "byte {at}");
        assert_eq!(fs::read(&path).unwrap(), damaged, "it is left as it is");
    }
    fs::write(&path, [whole.as_slice(), b"x"].concat()).unwrap();
    assert!(store.load("a").await.is_err());
}

#[tokio::test]
async fn a_foreign_file_is_an_error() {
    let folder = Folder::new("foreign");
    let store = FileCursorStore::open(&folder.0).unwrap();
    let later = "multibeam-cursor 2\nanything\n".to_owned();
    for text in ["1:42\n".to_owned(), later, "x".repeat(1 << 20)] {
        fs::write(store.path("a").unwrap(), text).unwrap();
        let error = store.load("a").await.unwrap_err();
        assert!(matches!(error, CursorStoreError::Foreign { .. }), "{error}");
    }
}

#[tokio::test]
async fn names_that_are_no_file_names_and_folders_that_are_none_are_refused() {
    let folder = Folder::new("bad-names");
    let store = FileCursorStore::open(&folder.0).unwrap();
    let long = "n".repeat(101);
    for name in ["", ".", "..", ".hidden", "a/b", "a b", "ä", long.as_str()] {
        let error = store.save(name, &saved(1)).await.unwrap_err();
        assert_eq!(error, CursorStoreError::Name { name: name.to_owned() });
        assert_eq!(store.load(name).await, Err(error));
    }
    let here = FileCursorStore::open("").unwrap();
    assert_eq!(here.path("a").unwrap(), PathBuf::from("./a.cursor"));
    fs::write(folder.0.join("file"), "").unwrap();
    let error = FileCursorStore::open(folder.0.join("file")).unwrap_err();
    assert!(matches!(error, CursorStoreError::Io { .. }) && error.is_retryable(), "{error}");
    // A folder that goes away under the store.
    let gone = FileCursorStore::open(folder.0.join("gone")).unwrap();
    fs::remove_dir(folder.0.join("gone")).unwrap();
    assert!(matches!(gone.save("a", &saved(1)).await, Err(CursorStoreError::Io { .. })));
}

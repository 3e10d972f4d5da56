use super::super::file::tests::parse;
use super::*;

fn classes(text: &str) -> Vec<Class> {
    let config = parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    config.shard.classes.iter().map(|(_, class)| class.clone()).collect()
}

#[test]
fn without_a_table_the_built_in_classes_are_in_force() {
    assert_eq!(classes("shards = 2"), built_in());
}

#[test]
fn every_key_of_a_table_reaches_its_class() {
    let text = "[[class]]\npattern = 'chat.{room}.>'\npartitions = 3\nroute = 'unicast'\noverflow = 'disconnect'\n\
                retain_messages = 4\nretain_bytes = 5\nretain_seconds = 6\non_connect = false\n\
                [[class]]\npattern = 'sys.*'\non_connect = false\n\
                [[class]]\npattern = 'news'\npartitions = 1\noverflow = 'conflate'\nroute = 'broadcast'\n\
                on_connect = true\n";
    let found = classes(text);
    let retain = Retention { messages: 4, bytes: 5, age: Some(Duration::from_secs(6)) };
    let chat = Class {
        pattern: Pattern::new("chat.{room}.>").unwrap(),
        partitions: 3,
        route: Route::Unicast,
        overflow: Overflow::Disconnect,
        retain,
        on_connect: false,
    };
    assert_eq!(found[0], chat);
    assert_eq!((found[1].on_connect, found[2].on_connect), (false, true));
    assert_eq!((found[2].overflow, found[2].route), (Overflow::Conflate, Route::Broadcast));
}

#[test]
fn what_a_table_leaves_out_comes_from_the_built_in_class_of_its_pattern() {
    for class in built_in() {
        let text = format!("[[class]]\npattern = '{}'\n", class.pattern);
        let retain = Retention { age: None, ..class.retain };
        let expected = Class { retain, ..class };
        let found = classes(&text).into_iter().find(|found| found.pattern == expected.pattern).unwrap();
        assert_eq!(found, expected);
    }
}

#[test]
fn what_a_table_of_a_new_pattern_leaves_out_comes_from_the_catch_all() {
    let everything = built_in().pop().unwrap();
    let found = classes("[[class]]\npattern = 'a.*'\nretain_messages = 7\n").remove(0);
    assert_eq!((found.partitions, found.retain.bytes), (everything.partitions, everything.retain.bytes));
    assert_eq!((found.retain.messages, found.retain.age), (7, None));
    // Also from one that the file changes further down, but for what is never handed down.
    let text = "[[class]]\npattern = 'a.*'\nretain_bytes = 8\n\
                [[class]]\npattern = '>'\npartitions = 1\noverflow = 'conflate'\nretain_seconds = 9\n\
                on_connect = true\n[[class]]\npattern = 'sys.*'\non_connect = false";
    let found = classes(text);
    assert_eq!((found[0].partitions, found[0].overflow), (1, Overflow::Conflate));
    assert_eq!((found[0].retain.age, found[0].on_connect), (None, false));
    assert_eq!(found.last().unwrap().retain.age, Some(Duration::from_secs(9)));
}

#[test]
fn an_error_in_a_class_names_line_and_key_and_what_to_do() {
    let one = |lines: &str| format!("shards = 2\n[[class]]\npattern = 'a.*'\n{lines}");
    let two = |first: &str, second: &str| {
        format!("[[class]]\npattern = '{first}'\n\n[[class]]\npartitions = 1\npattern = '{second}'\n")
    };
    let on_connect = "on_connect = true\n[[class]]\npattern = 'sys.*'";
    for (text, parts) in [
        (one("partitions = 0"), &["line 4", "a.*: partitions must be from 1 to 1024"][..]),
        (one("\npartitions = 70000"), &["line 5", "a.*: partitions must be from 1 to 1024"]),
        (one("partitions = -1"), &["line 4", "partitions"]),
        (one("retain_messages = 65537"), &["line 4", "a.*: retain_messages must be from 1 to 65536"]),
        (one("retain_bytes = 99999999999"), &["line 4", "a.*: retain_bytes must be", "67108864"]),
        (one("retain_seconds = 0"), &["line 4", "a.*: retain_seconds", "1 to 31536000", "leave it out"]),
        (one("route = 'any'"), &["line 4", "route: ", "`any`", "`broadcast`", "`unicast`"]),
        (one("overflow = 'drop'"), &["line 4", "`drop`", "`gap`", "`conflate`", "`disconnect`"]),
        (one("on_connect = true"), &["line 4", "a.*", "partitions = 1", "route = \"broadcast\""]),
        (one(&format!("partitions = 1\n{on_connect}")), &["line 7", "sys.*", "on_connect = false"]),
        (one("retain = 5"), &["line 4", "`retain`", "`retain_messages`"]),
        ("[[class]]\npartitions = 5".to_owned(), &["line 1", "`pattern`"]),
        ("[class]\npattern = 'a'".to_owned(), &["line 1", "[[class]]"]),
        (two("a.{id}", "a.{id}"), &["line 6", "the pattern a.{id}", "line 2", "leave one"]),
        (two("a.>", "a.{id}"), &["line 6", "a.{id}", "a.> in line 2", "before it"]),
        (two("a", "a.x{id}"), &["line 6", "\"a.x{id}\"", "whole segment"]),
        (two("a", "a..b"), &["line 6", "\"a..b\"", "empty segment"]),
        (two("{a}.{b}", "x"), &["line 2", "at most one key"]),
    ] {
        let error = parse(&text).expect_err(&text);
        assert!(!error.contains('\n'), "{error}");
        for part in ["node.toml, "].iter().chain(parts) {
            assert!(error.contains(part), "{part:?} is not in {error:?}\n{text}");
        }
    }
}

#[test]
fn too_many_classes_are_refused() {
    let tables = |count: usize| {
        (0..count).map(|number| format!("[[class]]\npattern = 'n{number}'\n")).collect::<String>()
    };
    let most = multibeam_proto::CLASSES_MAX - built_in().len();
    assert_eq!(classes(&tables(most)).len(), multibeam_proto::CLASSES_MAX);
    let error = parse(&tables(most + 1)).unwrap_err();
    assert!(error.contains("line 120: a node has at most 64 classes"), "{error}");
}

#[test]
fn the_documented_keys_are_those_of_a_table() {
    let error = parse("[[class]]\nnone = 1").unwrap_err();
    let keys: Vec<String> = class_settings().iter().map(|setting| format!("`{}`", setting.key)).collect();
    assert!(error.ends_with(&format!("expected one of {}", keys.join(", "))), "{error}");
}

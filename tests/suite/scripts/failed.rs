//! The failed list, in one part and in two, and the moves out of it.

use super::{exist, keys, list, run, run_at, tell};
use crate::servers::Server;

const FAILED_LEN: &str = include_str!("../../../host/queue/redis/scripts/failed_len.lua");
const FAILED_PAGE: &str = include_str!("../../../host/queue/redis/scripts/failed_page.lua");
const MOVE_BORDER: &str = include_str!("../../../host/queue/redis/scripts/move_border.lua");
const PURGE: &str = include_str!("../../../host/queue/redis/scripts/purge.lua");
const RETAIN: &str = include_str!("../../../host/queue/redis/scripts/retain.lua");
const TAKE_FAILED: &str = include_str!("../../../host/queue/redis/scripts/take_failed.lua");

/// A failed list of entries with two letters each, its border behind the first `older` of them: its keys.
async fn list_of(entries: &[&str], older: usize) -> anyhow::Result<[String; 2]> {
    let [failed, part] = keys(["failed", "older"]);
    for (key, entries) in [(&part, &entries[..older]), (&failed, &entries[older..])] {
        if !entries.is_empty() {
            let _: u64 = tell(&[&["RPUSH", key][..], entries].concat()).await?;
        }
    }
    Ok([failed, part])
}

/// The entries of both parts, and where the border is.
async fn whole([failed, older]: [&String; 2]) -> anyhow::Result<(Vec<String>, usize)> {
    let (mut entries, newer) = (list(older).await?, list(failed).await?);
    let border = entries.len();
    assert_eq!(
        run::<[usize; 2]>(FAILED_LEN, &[failed, older], &[]).await?,
        [border + newer.len(), border]
    );
    entries.extend(newer);
    Ok((entries, border))
}

#[tokio::test]
async fn a_page_of_the_failed_list_is_what_was_asked_for_and_small() -> anyhow::Result<()> {
    let mut entries: Vec<_> = (10..50).map(|n| n.to_string()).collect();
    entries.push("large".to_owned());
    let words: Vec<_> = entries.iter().map(String::as_str).collect();
    for border in [0, 1, 10, 40, 41] {
        let [failed, older] = &list_of(&words, border).await?;
        let keys = [failed, older];
        for (reach, place, count, bytes, read) in [
            ("from", "3", "21", "999", 3..24),
            ("from", "30", "21", "999", 30..41),
            ("from", "3", "21", "5", 3..5),
            ("from", "3", "21", "6", 3..6),
            ("from", "3", "21", "1", 3..4),
            ("from", "40", "21", "1", 40..41),
            ("from", "99", "21", "999", 41..41),
            ("before", "24", "21", "999", 3..24),
            ("before", "9", "21", "999", 0..9),
            ("before", "24", "21", "5", 22..24),
            ("before", "24", "21", "6", 21..24),
            ("before", "24", "21", "1", 23..24),
            ("before", "99", "21", "1", 40..41),
            ("before", "99", "2", "999", 39..41),
            ("before", "0", "21", "999", 0..0),
        ] {
            let args = [reach, place, count, bytes, "5"];
            let page: (usize, Vec<String>) = run(FAILED_PAGE, &keys, &args).await?;
            assert_eq!(page, (read.start, entries[read].to_vec()), "{border}: {args:?}");
        }
        for place in [["from", "40"], ["before", "41"]] {
            let args = [&place[..], &["1", "2", "4"]].concat();
            let page: (usize, Vec<(String, usize)>) = run(FAILED_PAGE, &keys, &args).await?;
            assert_eq!(page, (40, vec![("la".to_owned(), 5)]));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_purge_drops_the_oldest_and_says_how_many_there_were() -> anyhow::Result<()> {
    for border in 0..4 {
        let [failed, older] = &list_of(&["a", "b", "c"], border).await?;
        for (count, dropped, left) in [("2", 2, &["c"][..]), ("2", 1, &[][..]), ("2", 0, &[][..])] {
            assert_eq!(run::<u64>(PURGE, &[failed, older], &[count]).await?, dropped);
            assert_eq!(whole([failed, older]).await?.0, left, "{border}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn only_what_was_looked_at_is_dropped_from_the_failed_list_and_it_is_counted() -> anyhow::Result<()> {
    for border in 0..5 {
        let [failed, older] = &list_of(&["aa", "bb", "cc", "dd"], border).await?;
        let dropped = &failed.replace("failed", "dropped");
        for (count, start, len, wanted) in [
            ("9", "b", "2", 0),
            ("2", "b", "3", 0),
            ("2", "c", "2", 0),
            ("3", "b", "2", 0),
            ("2", "b", "2", 2),
            ("1", "cc", "2", 1),
        ] {
            let (keys, args) = ([failed, older, dropped], [count, start, len]);
            assert_eq!(run::<u64>(RETAIN, &keys, &args).await?, wanted, "{border}: {args:?}");
        }
        assert_eq!(whole([failed, older]).await?.0, ["dd"], "{border}");
        assert_eq!(tell::<u64>(&["GET", dropped]).await?, 3);
    }
    Ok(())
}

/// Takes entries out of a failed list whose older part has so many; of each: its place, its length, its first bytes, the
/// list that its job goes to.
async fn take(how: &str, border: usize, keys: &[&String], entries: &[[&str; 4]]) -> anyhow::Result<Option<Vec<u64>>> {
    let border = border.to_string();
    let mut args = vec![how, &border, "no entry"];
    for entry in entries {
        args.extend(entry);
        args.push("job");
    }
    run(TAKE_FAILED, keys, &args).await
}

#[tokio::test]
async fn entries_leave_the_failed_list_once_and_their_jobs_go_where_they_belong() -> anyhow::Result<()> {
    // Where the border is, and is afterwards.
    for (border, then) in [(0, 0), (4, 1), (5, 1), (6, 1)] {
        let [failed, older] = &list_of(&["a0", "b1", "c2", "d3", "e4", "f5"], border).await?;
        let [one, two] = &keys(["one", "two"]);
        let keys = [failed, older, one, two];
        let entries = [
            ["1", "2", "b", "2"],
            ["3", "2", "d3", "0"],
            ["3", "2", "d3", "1"],
            ["2", "3", "c2", "1"],
            ["2", "2", "d", "1"],
            ["9", "2", "i9", "1"],
        ];
        for elsewhere in [border + 1, border.wrapping_sub(1)] {
            assert_eq!(take("take", elsewhere, &keys, &entries).await?, None);
        }
        let there = Some(vec![1, 1, 0, 0, 0, 0]);
        assert_eq!(take("look", border, &keys, &entries).await?, there);
        assert_eq!(whole([failed, older]).await?.0.len(), 6);
        assert_eq!(exist([one, two]).await?, 0);
        assert_eq!(take("take", border, &keys, &entries).await?, there);
        let left = ["a0", "c2", "e4", "f5"].map(str::to_owned).to_vec();
        assert_eq!(whole([failed, older]).await?, (left, then));
        assert_eq!((exist([one]).await?, list(two).await?), (0, vec!["job".to_owned()]));
    }
    Ok(())
}

#[tokio::test]
async fn entries_are_found_where_they_have_moved_to_and_no_twin_is_taken_for_one() -> anyhow::Result<()> {
    let entries: Vec<_> = (10..50).map(|n| n.to_string()).collect();
    let words: Vec<_> = entries.iter().map(String::as_str).collect();
    for border in [0, 40] {
        let [failed, older] = &list_of(&words, border).await?;
        let keys = [failed, older];
        // Those of 10 to 33 have been read two places further on, the others five.
        let places: Vec<_> = (10..40)
            .map(|n| (n - 8 + if n < 34 { 0 } else { 3 }).to_string())
            .collect();
        let moved: Vec<_> = words
            .iter()
            .zip(&places)
            .map(|(entry, place)| [place, "2", entry, "0"])
            .collect();
        for how in ["look", "take"] {
            assert_eq!(take(how, border, &keys, &moved).await?, Some(vec![1; 30]), "{how}");
        }
        assert_eq!(whole(keys).await?, (entries[30..].to_vec(), 0));
        // An entry only ever moves to the front: one that is further on is another.
        let further = [["3", "2", "45", "0"], ["8", "2", "49", "0"]];
        assert_eq!(take("take", 0, &keys, &further).await?, Some(vec![0, 0]));
        // To look for each takes as long as what it goes through, so there is an end to it.
        let missing = |count, entry| [vec![["99999", "2", "xx", "0"]; count], vec![["9", "2", entry, "0"]]].concat();
        for (count, entry, found) in [(24, "44", 1), (25, "43", 0)] {
            let there = take("take", 0, &keys, &missing(count, entry)).await?;
            assert_eq!(there.and_then(|there| there.last().copied()), Some(found), "{entry}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_border_moves_in_steps_and_no_entry_leaves_its_order() -> anyhow::Result<()> {
    let entries: Vec<_> = (10..30).map(|n| n.to_string()).collect();
    let words: Vec<_> = entries.iter().map(String::as_str).collect();
    let [failed, older] = &list_of(&words, 0).await?;
    let mut border = 0;
    for (to, count, bytes, wanted) in [
        (10, 4, 99, 4),
        (10, 99, 5, 7), // As many bytes are enough: three entries have more.
        (10, 99, 99, 10),
        (10, 99, 99, 10),
        (2, 3, 99, 7),
        (2, 99, 4, 5),
        (0, 99, 99, 0),
        (17, 1, 99, 19), // From the end it is nearer.
        (17, 99, 99, 17),
        (20, 99, 99, 20),
        (9, 1, 99, 1), // And now from the front.
        (20, 99, 99, 20),
        (12, 2, 99, 18),
        (99, 1, 99, 19),
        (99, 99, 99, 0), // There is no such place.
        (99, 99, 99, 0),
    ] {
        let args = [border, to, count, bytes].map(|n: usize| n.to_string());
        let args = args.each_ref().map(String::as_str);
        let elsewhere = [(border + 1).to_string(), "0".to_owned()];
        let nothing = [&elsewhere[0], &elsewhere[1], "99", "99"];
        let keys = [failed, older];
        assert_eq!(run::<[usize; 3]>(MOVE_BORDER, &keys, &nothing).await?, [20, border, 0]);
        assert_eq!(
            run::<[usize; 3]>(MOVE_BORDER, &keys, &args).await?,
            [20, wanted, 1],
            "{args:?}"
        );
        assert_eq!(whole(keys).await?, (entries.clone(), wanted), "{args:?}");
        border = wanted;
    }
    Ok(())
}

#[tokio::test]
async fn entries_stay_in_the_failed_list_where_their_jobs_cannot_go() -> anyhow::Result<()> {
    for border in [0, 2] {
        let [failed, older] = &list_of(&["a", "b"], border).await?;
        let [one, two] = &keys(["one", "two"]);
        let _: () = tell(&["SET", two, "no list"]).await?;
        let entries = [["0", "1", "a", "1"], ["1", "1", "b", "2"]];
        let taken = take("take", border, &[failed, older, one, two], &entries).await;
        taken.expect_err("a key of the wrong type");
        assert_eq!((whole([failed, older]).await?.1, exist([one]).await?), (border, 0));
    }
    Ok(())
}

#[tokio::test]
async fn without_memory_entries_still_go_back_to_their_queue() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let [failed, older, ready] = &keys(["failed", "older", "ready"]);
    let keys = [failed, older, ready];
    let _: u64 = redis.tell(&["RPUSH", failed, "a", "b", "c", "d", "e"]).await?;
    let _: () = redis.tell(&["CONFIG", "SET", "maxmemory", "1"]).await?;
    let take = async |border, place, entry| -> anyhow::Result<Vec<u64>> {
        let args = ["take", border, "no entry", place, "1", entry, "1", "job"];
        run_at(&redis, TAKE_FAILED, &keys, &args).await
    };
    assert_eq!(take("0", "0", "a").await?, [1]);
    let moved: [u64; 3] = run_at(&redis, MOVE_BORDER, &keys[..2], &["0", "3", "9", "99"]).await?;
    assert_eq!(moved, [4, 3, 1]);
    assert_eq!(take("3", "1", "c").await?, [1]);
    let lens = "return {redis.call('LLEN', KEYS[1]), redis.call('LLEN', KEYS[2]), redis.call('LLEN', KEYS[3])}";
    assert_eq!(run_at::<[u64; 3]>(&redis, lens, &keys, &[]).await?, [2, 1, 2]);
    Ok(())
}

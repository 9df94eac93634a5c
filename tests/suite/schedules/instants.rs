//! Which instants a schedule has, and which of those that have passed are fired: no store, and no clock but ours.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use kiln::config::{MAX_CATCH_UP, Manifest, Schedule};

use super::{at, one};

/// Its instants in a range of time, walked forwards.
fn instants(schedule: &Schedule, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
    let first = schedule.after(from);
    std::iter::successors(first, |instant| schedule.after(*instant))
        .take_while(|instant| *instant <= to)
        .collect()
}

fn shown(instants: &[Timestamp]) -> Vec<String> {
    instants.iter().map(ToString::to_string).collect()
}

fn refusal(text: &str) -> String {
    Manifest::parse(text).expect_err(text)
}

#[test]
fn a_schedule_that_makes_no_sense_refuses_its_manifest_in_one_line() {
    let many = format!("{:?}", "x".repeat(5_000));
    for (lines, why) in [
        ("", "missing field `id`"),
        (
            "id = \"a\"",
            "schedule a: has neither cron nor every; one of them says when",
        ),
        (
            "id = \"a\"\ncron = \"0 3 * * *\"\nevery = \"1h\"",
            "schedule a: has both cron and every",
        ),
        (
            "id = \"a/b\"\nevery = \"1h\"",
            "schedule \"a/b\": an id has 1 to 64 letters",
        ),
        ("id = \"\"\nevery = \"1h\"", "schedule \"\": an id has 1 to 64 letters"),
        (
            "id = \"a\"\ncron = \"0 3 * *\"",
            "schedule a: cron \"0 3 * *\": Invalid pattern",
        ),
        ("id = \"a\"\ncron = \"0 25 * * *\"", "schedule a: cron \"0 25 * * *\": "),
        (
            "id = \"a\"\ncron = \"0 0 30 2 *\"",
            "schedule a: cron \"0 0 30 2 *\": no date ever matches it",
        ),
        (
            "id = \"a\"\ncron = \"0 3 * * *\"\nzone = \"Europe/Berln\"",
            "schedule a: there is no time zone \"Europe/Berln\"; zones are named as in Europe/Berlin",
        ),
        (
            "id = \"a\"\nevery = \"1h\"\nzone = \"UTC\"",
            "schedule a: zone goes with cron",
        ),
        (
            "id = \"a\"\nevery = \"999ms\"",
            "schedule a: every: must be from 1s to 8760h: ",
        ),
        ("id = \"a\"\nevery = \"soon\"", "schedule a: \"soon\" is not a duration"),
        (
            "id = \"a\"\nevery = \"1h\"\njitter = \"25h\"",
            "schedule a: jitter: must be from 0s to 24h: ",
        ),
        (
            "id = \"a\"\nevery = \"1h\"\nqueue = \"a b\"",
            "schedule a: queue name \"a b\": must not contain spaces",
        ),
        (
            "id = \"a\"\nevery = \"1h\"\npayload = 2026-01-01",
            "schedule a: payload: JSON has no dates",
        ),
        (
            &format!("id = \"a\"\nevery = \"1h\"\npayload = {many}"),
            "schedule a: payload: has 5002 bytes as JSON, at most 4096",
        ),
        (
            "id = \"a\"\nevery = \"1h\"\ncatch_up = \"some\"",
            "unknown variant `some`",
        ),
        ("id = \"a\"\nevery = \"1h\"\nat = 3", "unknown field `at`"),
        (
            "id = \"a\"\nevery = \"1h\"\njob = \"other\"",
            "schedule a: job goes with jobs",
        ),
        (
            "id = \"a\"\nevery = \"1h\"\n[[schedule]]\nid = \"a\"\nevery = \"2h\"",
            "schedule a: there are two of this id",
        ),
    ] {
        let told = refusal(&format!("[[schedule]]\n{lines}"));
        assert!(told.contains(why) && !told.contains('\n'), "{lines}: {told}");
    }
    let several = "jobs = [\"a\", \"b\"]\n[[schedule]]\nid = \"s\"\nevery = \"1h\"\n";
    assert!(refusal(several).contains("schedule s: the plugin handles several jobs"));
    assert!(refusal(&format!("{several}job = \"c\"")).contains("jobs does not name the job \"c\""));
    let schedules = Manifest::parse(&format!("{several}job = \"b\""))
        .expect("a manifest")
        .schedules;
    assert_eq!(schedules[0].job(), Some("b"));
}

#[test]
fn a_schedule_is_told_as_it_was_written_and_read_again_by_whoever_is_told() {
    let schedule =
        one("id = \"a\"\ncron = \"*/5 0 3 * * MON-FRI\"\nzone = \"Asia/Tokyo\"\npayload = { n = 1, of = [1.5, true] }");
    assert_eq!(schedule.payload().get(), r#"{"n":1,"of":[1.5,true]}"#);
    let told = serde_json::to_string(&schedule).expect("JSON");
    let again: Schedule = serde_json::from_str(&told).expect("a schedule");
    let (from, to) = (at("2026-06-01T00:00:00Z"), at("2026-06-09T00:00:00Z"));
    let all = instants(&schedule, from, to);
    assert_eq!((all.len(), &all), (6 * 12, &instants(&again, from, to)));
    assert_eq!(one("id = \"b\"\nevery = \"90m\"").payload().get(), "null");
}

#[test]
fn what_comes_every_so_often_comes_at_the_same_times_on_every_host_whenever_it_started() {
    let schedule = one("id = \"a\"\nevery = \"90m\"");
    let all = instants(&schedule, at("2026-06-01T00:10:00Z"), at("2026-06-01T05:00:00Z"));
    assert_eq!(
        shown(&all),
        ["2026-06-01T01:30:00Z", "2026-06-01T03:00:00Z", "2026-06-01T04:30:00Z"]
    );
}

#[test]
fn a_time_of_day_that_daylight_saving_skips_comes_once_after_the_gap() {
    let schedule = one("id = \"a\"\ncron = \"30 2 * * *\"\nzone = \"Europe/Berlin\"");
    let all = instants(&schedule, at("2026-03-27T12:00:00Z"), at("2026-03-30T12:00:00Z"));
    // On the 29th the clock goes from 02:00 to 03:00.
    assert_eq!(
        shown(&all),
        ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
}

#[test]
fn a_time_of_day_that_daylight_saving_repeats_comes_once_and_what_has_wildcards_in_both_passes() {
    let (from, to) = (at("2026-10-24T22:00:00Z"), at("2026-10-25T02:00:00Z"));
    let fixed = one("id = \"a\"\ncron = \"30 2 * * *\"\nzone = \"Europe/Berlin\"");
    assert_eq!(shown(&instants(&fixed, from, to)), ["2026-10-25T00:30:00Z"]);
    let often = one("id = \"b\"\ncron = \"30 * * * *\"\nzone = \"Europe/Berlin\"");
    assert_eq!(
        shown(&instants(&often, from, to)),
        [
            "2026-10-24T22:30:00Z",
            "2026-10-24T23:30:00Z",
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:30:00Z"
        ]
    );
}

#[test]
fn only_a_single_time_of_day_has_a_label_that_hosts_with_other_rules_of_its_zone_agree_on() {
    let fixed = one("id = \"a\"\ncron = \"30 2 * * *\"\nzone = \"Europe/Berlin\"");
    assert_eq!(
        fixed.label(at("2026-06-01T00:30:00Z")),
        "2026-06-01T02:30:00[Europe/Berlin]"
    );
    assert_eq!(
        one("id = \"b\"\ncron = \"0 */2 * * *\"").label(at("2026-06-01T00:00:00Z")),
        ""
    );
    assert_eq!(one("id = \"c\"\nevery = \"1h\"").label(at("2026-06-01T00:00:00Z")), "");
}

#[test]
fn looking_back_finds_the_instants_that_looking_forward_found_whatever_clocks_do() {
    let patterns = [
        "30 2 * * *",
        "0 0 * * *",
        "*/20 * * * *",
        "15 1-3 * * *",
        "0 0 L * *",
        "0 30 2 * * SUN",
        "30 1 29 2 *",
        "0 2,3 * * *",
    ];
    let zones = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kolkata",
        // Midnight itself is skipped here, and a whole day was there.
        "America/Santiago",
        "Pacific/Apia",
    ];
    for zone in zones {
        for pattern in patterns {
            let schedule = one(&format!("id = \"a\"\ncron = \"{pattern}\"\nzone = \"{zone}\""));
            // In this year Samoa lost a day, and clocks changed everywhere else.
            let (from, to) = (at("2011-01-01T00:00:00Z"), at("2012-04-30T00:00:00Z"));
            let mut last = from;
            for instant in instants(&schedule, from, to) {
                assert!(
                    schedule.has(instant),
                    "{pattern} {zone}: {instant} is none, looking back"
                );
                let between = instant - SignedDuration::from_millis(1);
                let passed = schedule.passed(last, instant).expect("one has passed");
                assert_eq!(
                    (passed.0.last(), passed.1),
                    (Some(&instant), instant),
                    "{pattern} {zone}"
                );
                assert_eq!(
                    schedule.passed(last, between),
                    None,
                    "{pattern} {zone}: before {instant}"
                );
                last = instant;
            }
        }
    }
}

/// What is fired of a schedule of every ten minutes that last fired at midnight, at some time of that day.
fn caught_up(more: &str, now: &str) -> Vec<String> {
    let schedule = one(&format!("id = \"a\"\nevery = \"10m\"\n{more}"));
    let last = at("2026-06-01T00:00:00Z");
    let (fired, newest) = schedule.passed(last, at(now)).expect("some have passed");
    assert!(fired.last().is_none_or(|last| *last == newest) && newest > last);
    shown(&fired)
        .iter()
        .map(|instant| instant["2026-06-01T".len()..16].to_owned())
        .collect()
}

#[test]
fn of_what_passed_meanwhile_the_last_one_is_made_up_for_or_none_or_all_within_bounds() {
    let on_time = "2026-06-01T04:30:10Z";
    let late = "2026-06-01T04:30:11Z";
    for catch_up in ["last", "none"] {
        let more = format!("catch_up = \"{catch_up}\"");
        assert_eq!(caught_up(&more, on_time), ["04:30"], "{catch_up}");
    }
    assert_eq!(caught_up("", late), ["04:30"]);
    assert_eq!(caught_up("catch_up = \"none\"", late), [""; 0]);
    let all = caught_up("catch_up = \"all\"", late);
    assert_eq!(
        all,
        ["03:40", "03:50", "04:00", "04:10", "04:20", "04:30"],
        "within an hour"
    );
    let all = caught_up("catch_up = \"all\"\ncatch_up_within = \"24h\"", late);
    assert_eq!((all.len(), &*all[0]), (27, "00:10"));
    assert_eq!(caught_up("catch_up_within = \"10s\"", late), [""; 0]);

    let often = one("id = \"a\"\nevery = \"1s\"\ncatch_up = \"all\"");
    let (fired, newest) = often
        .passed(at("2026-06-01T00:00:00Z"), at("2026-06-01T00:10:00Z"))
        .expect("600 have passed");
    assert_eq!((fired.len(), fired[MAX_CATCH_UP - 1]), (MAX_CATCH_UP, newest));
}

#[test]
fn jitter_puts_a_schedule_off_by_the_same_time_everywhere_and_each_by_its_own() {
    let schedule = one("id = \"a\"\nevery = \"1h\"\njitter = \"10m\"");
    let shifts: Vec<_> = (0..100).map(|n| schedule.shift(&format!("report/{n}"))).collect();
    let most = SignedDuration::from_mins(10);
    assert!(shifts.iter().all(|shift| !shift.is_negative() && *shift < most));
    let spread = shifts.iter().max().expect("some").as_secs() - shifts.iter().min().expect("some").as_secs();
    assert!(spread > 500, "{spread}");
    // A value that must never change: hosts of all versions have to agree.
    assert_eq!(schedule.shift("report/nightly").as_millis(), 41_369);
    assert!(one("id = \"a\"\nevery = \"1h\"").shift("report/nightly").is_zero());
}

#[test]
fn zones_are_known_without_any_on_the_system() {
    let known = jiff_tz("Europe/Berlin");
    assert_eq!(known.to_offset(at("2026-07-01T00:00:00Z")).seconds(), 7200);
}

fn jiff_tz(name: &str) -> TimeZone {
    jiff::tz::TimeZoneDatabase::bundled().get(name).expect("a zone")
}

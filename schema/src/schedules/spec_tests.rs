use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn next(spec: &str, zone: &str, after: &str) -> DateTime<Utc> {
    Spec::parse(spec, zone).unwrap().next(at(after)).unwrap().unwrap()
}

#[test]
fn a_pause_gives_the_same_times_to_everybody() {
    assert_eq!(next("every 30s", "UTC", "2026-01-01T00:00:00Z"), at("2026-01-01T00:00:30Z"));
    assert_eq!(next("every 30s", "UTC", "2026-01-01T00:00:29.9Z"), at("2026-01-01T00:00:30Z"));
}

#[test]
fn cron_follows_the_clock_of_its_zone() {
    let half_past_one = ("30 1 * * *", "Europe/London");
    assert_eq!(next(half_past_one.0, half_past_one.1, "2026-01-10T12:00:00Z"), at("2026-01-11T01:30:00Z"));
    assert_eq!(next(half_past_one.0, half_past_one.1, "2026-07-10T12:00:00Z"), at("2026-07-11T00:30:00Z"));
}

#[test]
fn a_time_that_summer_time_leaves_out_fires_once_right_after_it() {
    let spec = Spec::parse("30 1 * * *", "Europe/London").unwrap();
    // 29 March 2026: 01:00 GMT is 02:00 BST, so half past one does not exist that night.
    let times = spec.upcoming(at("2026-03-27T12:00:00Z"), 3).unwrap();
    assert_eq!(times, [at("2026-03-28T01:30:00Z"), at("2026-03-29T01:00:00Z"), at("2026-03-30T00:30:00Z")]);
}

#[test]
fn a_time_that_winter_time_repeats_fires_once() {
    let spec = Spec::parse("30 1 * * *", "Europe/London").unwrap();
    // 25 October 2026: 02:00 BST is 01:00 GMT, so half past one comes at 00:30Z and at 01:30Z.
    let times = spec.upcoming(at("2026-10-24T12:00:00Z"), 2).unwrap();
    assert_eq!(times, [at("2026-10-25T00:30:00Z"), at("2026-10-26T01:30:00Z")]);
    // What recurs within the hour goes on through both.
    let often = Spec::parse("*/30 * * * *", "Europe/London").unwrap();
    let times = often.upcoming(at("2026-10-24T23:59:00Z"), 4).unwrap();
    assert_eq!(
        times,
        [
            at("2026-10-25T00:00:00Z"),
            at("2026-10-25T00:30:00Z"),
            at("2026-10-25T01:00:00Z"),
            at("2026-10-25T01:30:00Z")
        ]
    );
}

#[test]
fn missed_times_are_the_newest_and_in_order() {
    let spec = Spec::parse("every 1m", "UTC").unwrap();
    let times = spec.between(at("2026-01-01T00:00:00Z"), at("2026-01-01T02:00:00Z"), 3).unwrap();
    assert_eq!(times, [at("2026-01-01T01:58:00Z"), at("2026-01-01T01:59:00Z"), at("2026-01-01T02:00:00Z")]);
    assert!(spec.between(at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:30Z"), 3).unwrap().is_empty());
}

#[test]
fn missed_times_of_cron_are_found_after_years_and_over_changes_of_the_clock() {
    let every_second = Spec::parse("* * * * * *", "UTC").unwrap();
    let times = every_second.between(at("2020-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z"), 2).unwrap();
    assert_eq!(times, [at("2025-12-31T23:59:59Z"), at("2026-01-01T00:00:00Z")]);
    let nightly = Spec::parse("30 1 * * *", "Europe/London").unwrap();
    for (after, until) in
        [("2026-03-27T12:00:00Z", "2026-04-02T12:00:00Z"), ("2026-10-22T12:00:00Z", "2026-10-28T12:00:00Z")]
    {
        let forwards = nightly.upcoming(at(after), 6).unwrap();
        assert_eq!(nightly.between(at(after), at(until), 100).unwrap(), forwards, "{after}");
        assert_eq!(nightly.between(at(after), at(until), 4).unwrap(), forwards[2..], "{after}");
    }
}

#[test]
fn a_single_time_comes_once() {
    let spec = Spec::parse("at 2026-12-24T19:00:00+01:00", "UTC").unwrap();
    assert_eq!(spec.next(at("2026-12-01T00:00:00Z")).unwrap(), Some(at("2026-12-24T18:00:00Z")));
    assert_eq!(spec.next(at("2026-12-24T18:00:00Z")).unwrap(), None);
    assert_eq!(spec.upcoming(at("2026-12-01T00:00:00Z"), 5).unwrap().len(), 1);
}

#[test]
fn nonsense_is_refused_with_the_reason() {
    for spec in
        ["every", "every 0s", "every 5w", "every -1s", "every 366d", "61 * * * *", "hello", "", "at noon"]
    {
        assert!(Spec::parse(spec, "UTC").is_err(), "{spec}");
    }
    for spec in ["0 0 * * *", "every 5s"] {
        let error = Spec::parse(spec, "Mars/Olympus").unwrap_err();
        assert_eq!(error, SpecError::TimeZone("Mars/Olympus".into()));
    }
}

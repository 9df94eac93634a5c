//! Each mistake that the protocol could be made with breaks a promise.

use super::explore::explore;
use super::promises::Property;
use super::unique::{DEBOUNCED, NEWEST, THROTTLED, UNIQUE, UNIQUE_WITHOUT_RETRIES};
use super::{CANCELLED, LATE, LATE_AND_TWO_JOBS, LIMITED, Mistake, ONE, PAUSED, Protocol, TWO, holds};

/// The mistake breaks the property, and with fewer mishaps it breaks none.
fn breaks(protocol: Protocol, mistake: Mistake, mishaps: u8, property: Property) {
    let with = |mishaps| Protocol {
        mistake: Some(mistake),
        mishaps,
        ..protocol
    };
    (0..mishaps).map(with).for_each(holds);
    match explore(&with(mishaps)) {
        Ok(states) => panic!("{mistake:?} goes unnoticed in {states} states"),
        Err(violation) => assert_eq!(violation.property, property, "{mistake:?}: {violation}"),
    }
}

macro_rules! mistakes {
    ($($test:ident: $protocol:ident, $mistake:ident, $mishaps:literal, $property:ident;)*) => {
        $(#[test]
        fn $test() {
            breaks($protocol, Mistake::$mistake, $mishaps, Property::$property);
        })*
    };
}

mistakes! {
    removing_the_source_first_loses_the_job: TWO, RemovesTheSourceFirst, 0, NeverLost;
    using_a_tag_again_loses_a_job: LATE_AND_TWO_JOBS, FetchesUnderAUsedTag, 2, NeverLost;
    settling_unchecked_doubles_the_job: ONE, SettlesUnchecked, 1, NeverDoubled;
    promoting_unclaimed_doubles_the_job: TWO, PromotesUnclaimed, 0, NeverDoubled;
    leaving_during_a_promotion_doubles_the_job: TWO, LeavesDuringAPromotion, 0, NeverDoubled;
    a_guest_that_outlives_the_lease_runs_beside_another: ONE, LetsGuestsOutliveTheLease, 1, NeverRunTwiceAtOnce;
    what_is_kept_past_the_deadline_runs_beside_another: ONE, KeepsWhatItFetchedPastTheDeadline, 1, NeverRunTwiceAtOnce;
    a_lease_counted_from_the_reply_is_believed_too_long: ONE, CountsTheLeaseFromTheReply, 1, NeverRunTwiceAtOnce;
    running_on_after_a_pause_runs_beside_another: ONE, RunsOnAfterAPause, 1, NeverRunTwiceAtOnce;
    running_what_is_left_waiting_runs_it_beside_another: ONE, RunsWhatItLeavesWaiting, 0, NeverRunTwiceAtOnce;
    comparing_during_a_fetch_gives_away_what_will_run: LATE, ComparesDuringAFetch, 0, NeverRunTwiceAtOnce;
    leaving_without_giving_back_counts_what_never_ran: ONE, LeavesWithoutGivingBack, 0, CountedRight;
    fetching_without_a_lease_strands_the_job: ONE, FetchesWithoutLease, 2, NeverStuck;
    giving_nothing_back_strands_what_a_lost_reply_brought: ONE, NeverGivesBack, 1, NeverStuck;
    taking_only_what_it_left_waiting_itself_strands_what_others_did: ONE, TakesOnlyWhatItLeftWaiting, 0, NeverStuck;
    fetching_by_what_was_heard_takes_from_a_paused_queue: PAUSED, FetchesByWhatItHasHeard, 0, NothingTakenWhilePaused;
    starting_before_it_knows_what_is_cancelled_runs_that: CANCELLED, StartsBeforeItKnowsWhatIsCancelled, 0, NothingStartedOnceCancelled;
    starting_without_a_place_runs_two_at_once: LIMITED, StartsWithoutAPlace, 0, NeverMoreThanAllowed;
    taking_the_place_afterwards_runs_two_at_once: LIMITED, TakesThePlaceAfterwards, 0, NeverMoreThanAllowed;
    never_taking_places_back_strands_what_waits_for_them: LIMITED, NeverTakesPlacesBack, 0, NeverStuck;
    dropping_a_further_attempt_for_itself_loses_it: UNIQUE, DropsItsOwnFurtherAttempt, 0, NeverDroppedForNobody;
    believing_in_places_without_a_job_drops_for_nobody: UNIQUE, BelievesEveryPlace, 0, NeverDroppedForNobody;
    waiting_for_what_was_dropped_drops_for_nobody: UNIQUE_WITHOUT_RETRIES, KeepsWaitingForWhatItDrops, 1, NeverDroppedForNobody;
    taking_the_last_asked_for_the_newest_drops_a_newer_one: NEWEST, OrdersByWhenItIsAsked, 0, NewestRunsLast;
    forgetting_what_is_awaited_runs_an_older_one_after_it: NEWEST, ForgetsWhatIsAwaited, 0, NewestRunsLast;
    forgetting_when_the_first_came_puts_it_off_for_ever: DEBOUNCED, ForgetsWhenTheFirstCame, 0, OpensInTime;
    forgetting_that_it_asked_throttles_a_job_for_itself: THROTTLED, ForgetsThatItAsked, 1, NeverDroppedForNobody;
    passing_off_what_it_asked_for_lets_on_too_many: THROTTLED, PassesOffWhatItAskedFor, 1, NeverTooOften;
    comparing_only_when_suspect_strands_what_came_late: LATE, ComparesOnlyWhenSuspect, 1, NeverStuck;
}

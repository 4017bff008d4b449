//! The duties of a store, each as one test, run on every store there is.
//!
//! A test is a function over [`StoreUnderTest`]; [`on_every_store!`] instantiates the list below
//! for each store. A test that is missing from the list is dead code, and so found by the compiler.

mod commits;
mod leases;
mod outbox;
mod race;
mod reading;
mod restart;
mod retention;
mod rows;
mod runs;
mod sample;
mod signals;
mod standing;
pub mod subject;

use subject::StoreUnderTest;

macro_rules! on_every_store {
    ($($duty:ident :: $test:ident),+ $(,)?) => {
        on_every_store!(@ memory super::subject::Memory, all(); $($duty::$test),+);
        on_every_store!(@ sqlite super::subject::Sqlite, all(); $($duty::$test),+);
        on_every_store!(@ postgres super::subject::Postgres, postgres; $($duty::$test),+);
    };
    (@ $store:ident $subject:ty, $there:meta; $($duty:ident :: $test:ident),+) => {
        mod $store {
            $(
                #[cfg_attr(not($there), ignore = "PostgreSQL is not installed")]
                #[tokio::test]
                async fn $test() {
                    super::$duty::$test::<$subject>().await;
                }
            )+
        }
    };
}

on_every_store! {
    commits::all_parts_are_written_at_once,
    commits::a_refused_commit_leaves_nothing,
    commits::checks_see_the_tables_before_the_commit,
    commits::an_incoming_message_is_taken_once,
    commits::an_empty_commit_is_fine,

    runs::a_started_run_is_new_and_due,
    runs::one_key_starts_one_run,
    runs::one_key_of_two_workflows_is_two_runs,
    runs::a_step_moves_its_run,
    runs::what_a_step_does_not_say,
    runs::a_stale_revision_is_fenced,
    runs::a_stale_token_is_fenced,
    runs::a_step_of_an_unknown_run_is_fenced,
    runs::a_kept_lease_stays,
    runs::a_released_run_is_due_when_asked,
    runs::a_final_run_is_never_due,
    runs::history_is_kept_in_order,

    leases::due_runs_are_claimed_the_longest_due_first,
    leases::a_claim_takes_no_more_than_its_limit,
    leases::a_lease_ends_and_its_holder_is_fenced,
    leases::a_lease_that_ended_is_good_until_somebody_takes_the_run,
    leases::only_own_live_leases_are_renewed,
    leases::the_leases_of_the_dead_end,
    leases::a_part_is_held_by_one_of_several_daemons,
    leases::a_run_is_woken_but_not_put_off,
    leases::a_leased_or_final_run_is_not_woken,
    leases::next_due_is_the_soonest_of_timers_and_leases,

    signals::signals_are_numbered_in_order,
    signals::mailboxes_are_read_together,
    signals::one_dedup_key_is_one_signal,
    signals::nobody_hears_a_signal_to_no_run,
    signals::a_final_run_hears_an_operator_only,
    signals::a_run_that_ends_is_due_for_an_operator_who_asked_meanwhile,
    signals::a_waiting_run_is_due_for_a_signal,
    signals::a_backing_off_run_is_due_for_an_operator_only,
    signals::a_leased_run_keeps_its_lease,
    signals::a_release_without_knowing_all_signals_is_due_at_once,
    signals::a_decision_on_the_mailbox_needs_all_mail,
    signals::a_step_tells_how_many_signals_there_are,
    signals::consumed_signals_are_gone,
    signals::a_nudge_takes_the_oldest_that_wait,
    signals::a_nudge_takes_only_what_it_names,

    rows::a_new_row_conflicts_with_an_old_one,
    rows::an_upsert_replaces_what_it_names,
    rows::an_update_needs_what_it_expects,
    rows::a_row_is_written_twice_in_one_commit,
    rows::values_come_back_as_they_were,
    rows::rows_are_found_by_a_value,
    rows::the_newest_row_has_the_greatest_value,
    rows::rows_are_read_page_by_page,
    rows::a_column_is_summed,
    rows::unknown_tables_and_columns_are_refused,
    rows::guard_on_a_revision,
    rows::guard_on_no_run,
    rows::guard_on_a_row,
    rows::guard_on_an_absent_row,
    rows::guard_on_fewer_rows,

    outbox::messages_are_offered_in_the_order_of_commits,
    outbox::a_known_message_is_not_stored_again,
    outbox::a_newer_message_supersedes_its_slot,
    outbox::a_message_is_offered_until_it_is_closed,
    outbox::a_closed_message_stays_closed,
    outbox::the_newest_message_of_a_topic_is_found,
    outbox::old_messages_are_forgotten_but_the_newest_of_a_topic,

    reading::runs_are_filtered,
    reading::runs_come_newest_first,
    reading::a_prefix_is_no_pattern,
    reading::stuck_runs_are_found,
    reading::runs_are_counted,
    reading::pins_of_open_runs_are_counted,
    reading::nothing_is_found_in_an_empty_store,
    reading::changes_are_told,
    reading::a_change_of_somebody_else_is_announced,

    retention::ended_runs_are_found_in_their_order,
    retention::a_retired_run_leaves_its_name_and_its_end,
    retention::the_key_of_a_retired_run_stays_taken,
    retention::a_retired_run_is_found_by_its_name_alone,
    retention::what_is_not_over_is_not_retired,
    retention::a_retired_run_hears_an_operator,

    race::one_revision_is_stepped_once,
    race::one_key_is_inserted_once,
    race::one_message_is_taken_once,
    race::one_run_is_claimed_once,
    race::a_limit_holds,
    race::a_signal_and_a_deadline_do_not_both_win,
    race::one_bad_commit_spoils_no_other,
    race::starts_and_signals_of_many_are_all_kept,

    standing::the_count_rises_with_each_commit_and_claim,
    standing::a_history_is_found_again_and_another_is_not,
    standing::the_last_commit_is_of_a_run_or_a_message,

    restart::everything_is_found_again,
    restart::numbers_go_on,
    restart::a_daemon_from_before_is_fenced,
}

//! What the payout takes for granted of lnd, each as one test, run on the stand-in and on a real lnd.
//!
//! A row is a function over [`Bed`](bed::Bed); the list below makes a test of it for each bed. The real ones need the
//! environment variable `LND_BIN`, the folder that holds `lnd`, `btcd` and `btcctl`, and so are ignored by default:
//! `make contract LND_BIN=…` runs them. `docs/lnd.md` tells the facts in prose.

pub mod bed;
pub mod calls;
pub mod door;
mod double;
mod doubles;
mod invoices;
pub mod macaroons;
mod payments;
pub mod port;
pub mod real;
mod refusals;
mod restart;
mod stand_in;
mod troubles;

macro_rules! on_every_lnd {
    ($($topic:ident { $($row:ident),+ $(,)? })+) => {
        mod on_stand_in {
            $(mod $topic {
                $(
                    #[tokio::test]
                    async fn $row() {
                        super::super::$topic::$row(&super::super::stand_in::StandInBed::open().await).await;
                    }
                )+
            })+
        }

        mod on_real_nodes {
            $(mod $topic {
                $(
                    #[tokio::test]
                    #[ignore = "needs LND_BIN, the folder of lnd, btcd and btcctl: make contract LND_BIN=…"]
                    async fn $row() {
                        super::super::$topic::$row(&super::super::real::RealBed::open().await).await;
                    }
                )+
            })+
        }
    };
}

on_every_lnd! {
    invoices {
        settling_is_idempotent_and_final,
        an_open_invoice_does_not_settle,
        canceling_is_idempotent_and_final,
        an_unknown_hash_neither_settles_nor_cancels,
        preimages_and_hashes_have_32_bytes,
        a_hash_is_taken_once,
        a_virgin_node_looks_up_in_other_words,
        an_accepted_invoice_shows_its_htlc,
        lnd_gives_up_an_accepted_invoice_near_its_expiry,
        following_an_unknown_invoice_is_silent,
        a_shutdown_ends_an_invoice_stream_without_error,
    }
    refusals {
        an_unknown_payment_is_not_found,
        a_payment_in_flight_is_not_sent_again,
        of_many_sends_at_once_one_is_taken,
        expiry_is_checked_before_duplicates,
        the_node_does_not_pay_itself,
        an_invoice_of_another_network_is_refused,
        the_amount_is_named_once,
        the_cltv_limit_leaves_room_for_the_payee,
        there_is_one_fee_limit,
        an_amp_invoice_wants_a_flag,
        an_empty_send_is_refused,
    }
    payments {
        a_payment_ends_with_its_preimage_and_fee,
        each_attempt_has_its_own_index,
        an_unset_fee_limit_is_zero,
        the_cltv_limit_holds_for_the_whole_route,
        unknown_required_features_are_no_route,
        too_little_balance_has_a_reason_of_its_own,
        a_reason_shows_while_in_flight,
        what_the_payee_does_not_want_has_incorrect_details,
        a_locked_htlc_outlives_the_time_out,
        a_payment_in_parts_stays_in_flight_without_a_route,
        a_client_that_leaves_changes_nothing,
        without_in_flight_updates_not_even_headers_come,
        a_wiped_database_knows_no_payment,
    }
    restart {
        a_killed_node_takes_up_its_payments,
        an_accepted_invoice_outlives_a_kill,
        a_locked_wallet_serves_nothing_but_its_state,
        the_state_service_has_another_name,
        a_shutdown_breaks_a_payment_stream_off,
    }
    macaroons {
        a_send_dies_with_its_macaroon,
        a_stream_outlives_its_macaroon,
        the_least_macaroon_suffices,
        the_runbooks_macaroon_suffices,
        a_call_that_is_not_granted_is_denied,
        a_macaroon_of_another_node_is_refused,
        a_caveat_that_lnd_does_not_know_is_not_satisfied,
    }
    port {
        a_bond_is_settled_once_and_for_all,
        a_bond_is_canceled_once_and_for_all,
        a_bond_that_nobody_made_is_unknown,
        a_payment_is_watched_to_its_end,
        each_failure_has_its_index_and_its_reason,
        what_is_refused_is_no_payment,
        a_node_that_is_gone_comes_back,
        a_locked_wallet_is_an_outage,
        the_node_tells_its_standing,
    }
    troubles {
        an_address_that_refuses_is_told,
        an_address_that_never_answers_is_told,
        another_certificate_is_told,
        a_renewed_certificate_is_read_again,
        a_revoked_macaroon_is_told,
        a_macaroon_that_is_too_small_is_told,
        another_network_is_told,
        a_node_that_syncs_is_told,
        a_node_that_hangs_is_in_doubt,
    }
}

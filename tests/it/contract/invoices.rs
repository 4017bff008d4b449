//! `invoicesrpc.Invoices`: the node's own hold invoices.

use bondflow::lnd::errors::Refusal;
use tonic_lnd::invoicesrpc::AddHoldInvoiceRequest;
use tonic_lnd::lnrpc::InvoiceHtlcState;
use tonic_lnd::lnrpc::invoice::InvoiceState;
use tonic_lnd::tonic::Code;

use super::bed::{BLOCK_PADDING, Bed, hash_of, secret};
use super::calls::{Lnd, SILENCE, all, refused, within};

const SETTLE: &str = "Invoices.SettleInvoice";
const CANCEL: &str = "Invoices.CancelInvoice";
const ADD: &str = "Invoices.AddHoldInvoice";
const LOOK_UP: &str = "Invoices.LookupInvoiceV2";

/// `lncfg.DefaultHoldInvoiceExpiryDelta`.
const HOLD_EXPIRY_DELTA: u32 = 12;

pub async fn settling_is_idempotent_and_final(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let invoice = lnd.hold_invoice().await;
    bed.slashed_pays(&invoice).await;
    lnd.settle(&invoice.preimage).await.unwrap();
    lnd.until_invoice(&invoice.hash, InvoiceState::Settled).await;
    lnd.settle(&invoice.preimage).await.unwrap();
    let canceled = lnd.cancel(&invoice.hash).await;
    refused(CANCEL, canceled, Code::Unknown, "invoice already settled", Refusal::AlreadySettled);
    let shown = lnd.look_up(&invoice.hash).await.unwrap();
    assert_eq!((shown.state(), shown.amt_paid_sat), (InvoiceState::Settled, 1_000));
    assert_eq!(shown.r_preimage, invoice.preimage);
}

pub async fn an_open_invoice_does_not_settle(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let invoice = lnd.hold_invoice().await;
    let settled = lnd.settle(&invoice.preimage).await;
    refused(SETTLE, settled, Code::Unknown, "invoice still open", Refusal::StillOpen);
    assert_eq!(lnd.look_up(&invoice.hash).await.unwrap().state(), InvoiceState::Open);
}

pub async fn canceling_is_idempotent_and_final(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let (open, accepted) = (lnd.hold_invoice().await, lnd.hold_invoice().await);
    bed.slashed_pays(&accepted).await;
    for invoice in [open, accepted] {
        lnd.cancel(&invoice.hash).await.unwrap();
        lnd.cancel(&invoice.hash).await.unwrap();
        let settled = lnd.settle(&invoice.preimage).await;
        refused(SETTLE, settled, Code::Unknown, "invoice already canceled", Refusal::AlreadyCanceled);
        assert_eq!(lnd.look_up(&invoice.hash).await.unwrap().state(), InvoiceState::Canceled);
    }
}

pub async fn an_unknown_hash_neither_settles_nor_cancels(bed: &dyn Bed) {
    let (lnd, virgin) = (Lnd::at(&bed.node()).await, Lnd::at(&bed.virgin()).await);
    lnd.hold_invoice().await;
    for lnd in [lnd, virgin] {
        let settled = lnd.settle(&secret()).await;
        refused(SETTLE, settled, Code::Unknown, "unable to locate invoice", Refusal::UnknownInvoice);
        let canceled = lnd.cancel(&secret()).await;
        refused(CANCEL, canceled, Code::Unknown, "unable to locate invoice", Refusal::UnknownInvoice);
    }
}

pub async fn preimages_and_hashes_have_32_bytes(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let settled = lnd.settle(&[7; 31]).await;
    refused(SETTLE, settled, Code::Unknown, "invalid preimage length of 31, want 32", Refusal::Malformed);
    let settled = lnd.settle(&[]).await;
    refused(SETTLE, settled, Code::Unknown, "invalid preimage length of 0, want 32", Refusal::Malformed);
    let canceled = lnd.cancel(&[7; 33]).await;
    refused(CANCEL, canceled, Code::Unknown, "invalid hash length of 33, want 32", Refusal::Malformed);
    let tracked = lnd.follow_payment(&[7; 31]).await;
    refused("Router.TrackPaymentV2", tracked, Code::Unknown, "invalid hash length of 31, want 32", Refusal::Malformed);
}

pub async fn a_hash_is_taken_once(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let (open, canceled) = (lnd.hold_invoice().await, lnd.hold_invoice().await);
    lnd.cancel(&canceled.hash).await.unwrap();
    for invoice in [open, canceled] {
        let message = AddHoldInvoiceRequest { hash: invoice.hash.to_vec(), value: 9, ..Default::default() };
        let text = "invoice with payment hash already exists";
        refused(ADD, lnd.add_hold(message).await, Code::Unknown, text, Refusal::DuplicateInvoice);
    }
}

pub async fn a_virgin_node_looks_up_in_other_words(bed: &dyn Bed) {
    let (lnd, virgin) = (Lnd::at(&bed.node()).await, Lnd::at(&bed.virgin()).await);
    let found = virgin.look_up(&secret()).await;
    refused(LOOK_UP, found, Code::Unknown, "there are no existing invoices", Refusal::UnknownInvoice);
    lnd.hold_invoice().await;
    let found = lnd.look_up(&secret()).await;
    refused(LOOK_UP, found, Code::NotFound, "unable to locate invoice", Refusal::UnknownInvoice);
}

pub async fn an_accepted_invoice_shows_its_htlc(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let invoice =
        lnd.hold_invoice_with(AddHoldInvoiceRequest { value: 700, cltv_expiry: 30, ..Default::default() }).await;
    let height = lnd.info().await.unwrap().block_height;
    bed.slashed_pays(&invoice).await;
    let shown = lnd.look_up(&invoice.hash).await.unwrap();
    assert_eq!(shown.state(), InvoiceState::Accepted);
    let [htlc] = shown.htlcs.as_slice() else { panic!("one HTLC, not {:?}", shown.htlcs) };
    assert_eq!((htlc.state(), htlc.amt_msat), (InvoiceHtlcState::Accepted, 700_000));
    assert_eq!(htlc.expiry_height as u32, height + 30 + BLOCK_PADDING as u32);
    lnd.cancel(&invoice.hash).await.unwrap();
}

pub async fn lnd_gives_up_an_accepted_invoice_near_its_expiry(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let invoice =
        lnd.hold_invoice_with(AddHoldInvoiceRequest { value: 700, cltv_expiry: 18, ..Default::default() }).await;
    bed.slashed_pays(&invoice).await;
    let expiry = lnd.look_up(&invoice.hash).await.unwrap().htlcs[0].expiry_height as u32;
    let left = expiry - HOLD_EXPIRY_DELTA - lnd.info().await.unwrap().block_height;
    bed.mine(left - 1).await;
    let canceled = lnd.until_invoice(&invoice.hash, InvoiceState::Canceled);
    assert!(tokio::time::timeout(SILENCE, canceled).await.is_err(), "it is held one block before");
    bed.mine(1).await;
    lnd.until_invoice(&invoice.hash, InvoiceState::Canceled).await;
    let settled = lnd.settle(&invoice.preimage).await;
    refused(SETTLE, settled, Code::Unknown, "invoice already canceled", Refusal::AlreadyCanceled);
}

/// Not even headers come, so that a client waits for its response.
pub async fn following_an_unknown_invoice_is_silent(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let preimage = secret();
    let hash = hash_of(preimage);
    let (other, (heard, mut hears)) = (lnd.clone(), tokio::sync::mpsc::channel(1));
    let follow = tokio::spawn(async move {
        let mut stream = other.follow_invoice(&hash).await.unwrap();
        heard.send(stream.message().await.unwrap().unwrap().state()).await.unwrap();
    });
    assert!(tokio::time::timeout(SILENCE, hears.recv()).await.is_err(), "no word and no error");
    lnd.add_hold(AddHoldInvoiceRequest { hash: hash.to_vec(), value: 1, ..Default::default() }).await.unwrap();
    let first = within("the invoice once it is there", hears.recv()).await;
    assert_eq!(first, Some(InvoiceState::Open));
    follow.await.unwrap();
}

/// So the end of a stream is no verdict.
pub async fn a_shutdown_ends_an_invoice_stream_without_error(bed: &dyn Bed) {
    let lnd = Lnd::at(&bed.node()).await;
    let invoice = lnd.hold_invoice().await;
    let mut stream = lnd.follow_invoice(&invoice.hash).await.unwrap();
    assert_eq!(stream.message().await.unwrap().unwrap().state(), InvoiceState::Open);
    bed.shut_down().await;
    assert_eq!(all(stream).await, []);
    bed.start().await;
    bed.serves().await;
    assert_eq!(Lnd::at(&bed.node()).await.look_up(&invoice.hash).await.unwrap().state(), InvoiceState::Open);
}

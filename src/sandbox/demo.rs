//! demo

/// Shows it.
pub async fn show(_keep: bool) -> anyhow::Result<()> {
    anyhow::bail!("not there yet")
}

#[derive(Default)]
pub(super) struct Faults;
impl Faults {
    pub(super) async fn on_commit(&self, _db: &mut sqlx::SqliteConnection) -> Option<Result<(), sqlx::Error>> {
        None
    }
    pub(super) fn on_connect(&self) -> Result<(), sqlx::Error> {
        Ok(())
    }
}

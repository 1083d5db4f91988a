-- The user's own tables and names; salesops reads them through the contract views.
SELECT * FROM salesops.attach('lead', 'crm.leads', '{"lead_id": "id", "created_at": "inserted_at", "postal_code": "zip", "source": "channel",
  "owner_id": "rep", "opportunity_id": "deal_id"}');
SELECT * FROM salesops.attach('account', 'crm.accounts', '{"account_id": "id", "annual_revenue": "revenue", "owner_id": "rep", "created_at": "inserted_at"}');
SELECT * FROM salesops.attach('opportunity', 'crm.deals', '{"opportunity_id": "id", "created_at": "inserted_at", "owner_id": "rep", "source": "channel",
  "forecast_category": "category"}');
SELECT * FROM salesops.attach('opportunity_stage_change', 'crm.deal_history', '{"opportunity_id": "deal_id"}');
SELECT * FROM salesops.attach('activity', 'crm.activities', '{"activity_id": "id", "occurred_at": "at", "opportunity_id": "deal_id", "rep_id": "rep"}');
SELECT * FROM salesops.attach('sales_rep', 'crm.reps', '{"rep_id": "rep", "manager_id": "manager", "is_active": "active"}');
SELECT salesops.define_stages('default', '[
  {"stage": "Qualify", "ordinal": 1, "kind": "open", "probability": 0.25, "max_days": 20},
  {"stage": "Discovery", "ordinal": 2, "kind": "open", "probability": 0.35, "max_days": 30},
  {"stage": "Proposal", "ordinal": 3, "kind": "open", "probability": 0.5, "max_days": 45},
  {"stage": "Negotiation", "ordinal": 4, "kind": "open", "probability": 0.75, "max_days": 30},
  {"stage": "Won", "ordinal": 5, "kind": "won"}, {"stage": "Lost", "ordinal": 6, "kind": "lost"}]');

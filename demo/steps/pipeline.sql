-- Stage criteria: what a deal must have to enter Proposal, what a refused write looks like.
CREATE TABLE demo.refused (state text, message text, detail text);
SELECT to_regclass('crm.deal_history') IS NOT NULL AS generated \gset
\if :generated
SELECT salesops.add_criterion('crm.deals', 'Proposal', 'has amount', 'amount > 0');
SELECT salesops.add_criterion('crm.deals', 'Proposal', 'has date', 'close_date IS NOT NULL');
SELECT salesops.add_criterion('crm.deals', 'Negotiation', 'has next step', 'length(next_step) > 3', 'say what happens next', 'warn');
SELECT salesops.enforce_stage_criteria('crm.deals');
DO $$
DECLARE
  refused demo.refused;
BEGIN
  INSERT INTO crm.deals (id, stage, inserted_at) VALUES ('D-99001', 'Proposal', now());
EXCEPTION WHEN check_violation THEN
  GET STACKED DIAGNOSTICS refused.state = RETURNED_SQLSTATE, refused.message = MESSAGE_TEXT, refused.detail = PG_EXCEPTION_DETAIL;
  INSERT INTO demo.refused VALUES (refused.*);
END
$$;
\endif

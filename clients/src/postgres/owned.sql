-- The product's table where none is configured.
CREATE TABLE IF NOT EXISTS public.customers (
    id          text PRIMARY KEY DEFAULT gen_random_uuid()::text,
    name        text,
    email       text,
    phone       text,
    address     jsonb,
    attributes  jsonb NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);

-- Whose e-mail is it? Asked before a row is made.
CREATE INDEX IF NOT EXISTS customers_email ON public.customers (lower(btrim(email)));

CREATE OR REPLACE FUNCTION concord.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER concord_touch BEFORE UPDATE ON public.customers
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION concord.touch();

--
-- PostgreSQL database dump
--


-- Dumped from database version 18.4
-- Dumped by pg_dump version 18.4

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: jobs_list_metadata(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.jobs_list_metadata() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO job_metadata (project_id, key, value, created_at, job_id)
    SELECT NEW.project_id, key, value, NEW.created_at, NEW.id
    FROM jsonb_each_text(NEW.user_metadata);
    RETURN NULL;
END
$$;


--
-- Name: jobs_terminal_states_absorb(); Type: FUNCTION; Schema: public; Owner: -
--

CREATE FUNCTION public.jobs_terminal_states_absorb() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'job % has % and cannot become %', OLD.id, OLD.state, NEW.state
        USING ERRCODE = 'check_violation', CONSTRAINT = 'jobs_terminal_states_absorb';
END
$$;


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: admin_keys; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.admin_keys (
    id character varying NOT NULL,
    organization_id character varying NOT NULL,
    name character varying NOT NULL,
    secret_sha256 bytea NOT NULL,
    redacted character varying NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    last_used_at timestamp with time zone,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone
);


--
-- Name: alembic_version; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);


--
-- Name: api_keys; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.api_keys (
    id character varying NOT NULL,
    project_id character varying NOT NULL,
    name character varying NOT NULL,
    secret_sha256 bytea NOT NULL,
    redacted character varying NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    last_used_at timestamp with time zone,
    revoked_at timestamp with time zone,
    expires_at timestamp with time zone,
    service_account_id character varying
);


--
-- Name: checkpoint_permissions; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.checkpoint_permissions (
    id character varying NOT NULL,
    model_name character varying NOT NULL,
    project_id character varying NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


--
-- Name: checkpoints; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.checkpoints (
    id character varying NOT NULL,
    job_id character varying NOT NULL,
    epoch bigint NOT NULL,
    step integer NOT NULL,
    kind character varying NOT NULL,
    storage_prefix character varying NOT NULL,
    manifest_sha256 character varying NOT NULL,
    bytes bigint NOT NULL,
    model_name character varying,
    metrics jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    deleted_at timestamp with time zone,
    CONSTRAINT ck_checkpoints_kind CHECK (((kind)::text = ANY ((ARRAY['user'::character varying, 'resume'::character varying])::text[])))
);


--
-- Name: duties; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.duties (
    name character varying NOT NULL,
    last_succeeded_at timestamp with time zone NOT NULL,
    every_seconds double precision NOT NULL
);


--
-- Name: files; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.files (
    id character varying NOT NULL,
    project_id character varying NOT NULL,
    filename character varying NOT NULL,
    purpose character varying NOT NULL,
    bytes bigint NOT NULL,
    sha256 character varying NOT NULL,
    storage_key character varying NOT NULL,
    status character varying NOT NULL,
    status_details character varying,
    format character varying,
    examples integer,
    faults jsonb,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    expires_at timestamp with time zone,
    deleted_at timestamp with time zone,
    summary jsonb,
    CONSTRAINT ck_files_status CHECK (((status)::text = ANY ((ARRAY['uploaded'::character varying, 'processed'::character varying, 'error'::character varying])::text[])))
);


--
-- Name: job_attempts; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.job_attempts (
    job_id character varying NOT NULL,
    epoch bigint NOT NULL,
    worker character varying NOT NULL,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    ended_at timestamp with time zone,
    outcome character varying,
    exit_code integer
);


--
-- Name: job_events; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.job_events (
    id character varying NOT NULL,
    job_id character varying NOT NULL,
    seq integer NOT NULL,
    epoch bigint NOT NULL,
    dedupe_key character varying NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    level character varying NOT NULL,
    type character varying NOT NULL,
    message character varying NOT NULL,
    data jsonb
);


--
-- Name: job_leases; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.job_leases (
    job_id character varying NOT NULL,
    epoch bigint NOT NULL,
    worker character varying NOT NULL,
    lease_until timestamp with time zone NOT NULL,
    heartbeat_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    step integer DEFAULT 0 NOT NULL
)
WITH (fillfactor='70', autovacuum_vacuum_scale_factor='0.02');


--
-- Name: job_metadata; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.job_metadata (
    project_id character varying NOT NULL,
    key character varying NOT NULL,
    value character varying NOT NULL,
    created_at timestamp with time zone NOT NULL,
    job_id character varying NOT NULL
);


--
-- Name: job_metrics; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.job_metrics (
    job_id character varying NOT NULL,
    step integer NOT NULL,
    epoch bigint NOT NULL,
    "values" jsonb NOT NULL
);


--
-- Name: jobs; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.jobs (
    id character varying NOT NULL,
    project_id character varying NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    state character varying NOT NULL,
    epoch bigint DEFAULT '0'::bigint NOT NULL,
    version integer DEFAULT 0 NOT NULL,
    priority integer DEFAULT 0 NOT NULL,
    run_after timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    no_progress_attempts integer DEFAULT 0 NOT NULL,
    base_model character varying NOT NULL,
    start_model character varying,
    training_file_id character varying NOT NULL,
    validation_file_id character varying,
    method character varying NOT NULL,
    hyperparameters jsonb NOT NULL,
    resolved jsonb,
    seed integer NOT NULL,
    suffix character varying,
    user_metadata jsonb,
    integrations jsonb DEFAULT '[]'::jsonb NOT NULL,
    micro_batch integer,
    total_steps integer,
    trained_tokens bigint,
    started_at timestamp with time zone,
    estimated_finish timestamp with time zone,
    finished_at timestamp with time zone,
    tuned_model character varying,
    result_file_id character varying,
    error_code character varying,
    error_param character varying,
    error_message character varying,
    evaluation_file_id character varying,
    reference jsonb,
    CONSTRAINT ck_jobs_state CHECK (((state)::text = ANY ((ARRAY['validating_files'::character varying, 'queued'::character varying, 'running'::character varying, 'pausing'::character varying, 'paused'::character varying, 'finalizing'::character varying, 'succeeded'::character varying, 'failed'::character varying, 'cancelled'::character varying])::text[])))
);


--
-- Name: model_hours; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.model_hours (
    model character varying NOT NULL,
    hour timestamp with time zone NOT NULL,
    counts jsonb NOT NULL
);


--
-- Name: organizations; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.organizations (
    id character varying NOT NULL,
    slug character varying NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


--
-- Name: outbox; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.outbox (
    id bigint NOT NULL,
    kind character varying NOT NULL,
    payload jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    available_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    done_at timestamp with time zone
);


--
-- Name: outbox_id_seq; Type: SEQUENCE; Schema: public; Owner: -
--

CREATE SEQUENCE public.outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: outbox_id_seq; Type: SEQUENCE OWNED BY; Schema: public; Owner: -
--

ALTER SEQUENCE public.outbox_id_seq OWNED BY public.outbox.id;


--
-- Name: predictions; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.predictions (
    request_id character varying NOT NULL,
    model character varying NOT NULL,
    answer_id character varying,
    found jsonb NOT NULL,
    truth jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


--
-- Name: projects; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.projects (
    id character varying NOT NULL,
    organization_id character varying NOT NULL,
    name character varying NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    last_served_at timestamp with time zone,
    max_running_jobs integer,
    max_queued_jobs integer,
    archived_at timestamp with time zone
);


--
-- Name: repeats; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.repeats (
    project_id character varying NOT NULL,
    key character varying NOT NULL,
    request_sha256 character varying NOT NULL,
    answer jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    status integer DEFAULT 200 NOT NULL
);


--
-- Name: service_accounts; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.service_accounts (
    id character varying NOT NULL,
    project_id character varying NOT NULL,
    name character varying NOT NULL,
    role character varying NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    deleted_at timestamp with time zone,
    CONSTRAINT ck_service_accounts_role CHECK (((role)::text = ANY ((ARRAY['owner'::character varying, 'member'::character varying, 'none'::character varying])::text[])))
);


--
-- Name: tuned_models; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.tuned_models (
    name character varying NOT NULL,
    project_id character varying NOT NULL,
    job_id character varying NOT NULL,
    base_model character varying NOT NULL,
    step integer,
    storage_prefix character varying NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    deleted_at timestamp with time zone
);


--
-- Name: upload_parts; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.upload_parts (
    id character varying NOT NULL,
    upload_id character varying NOT NULL,
    bytes bigint NOT NULL,
    storage_key character varying NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    sha256 character varying
);


--
-- Name: uploads; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.uploads (
    id character varying NOT NULL,
    project_id character varying NOT NULL,
    filename character varying NOT NULL,
    purpose character varying NOT NULL,
    bytes bigint NOT NULL,
    expires_after_seconds integer,
    state character varying NOT NULL,
    claim character varying,
    claimed_until timestamp with time zone,
    part_ids jsonb,
    md5 character varying,
    file_id character varying,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT ck_uploads_state CHECK (((state)::text = ANY ((ARRAY['pending'::character varying, 'completing'::character varying, 'completed'::character varying, 'cancelled'::character varying, 'expired'::character varying])::text[])))
);


--
-- Name: usage; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.usage (
    job_id character varying NOT NULL,
    project_id character varying NOT NULL,
    base_model character varying NOT NULL,
    trained_tokens bigint NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);


--
-- Name: webhook_attempts; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.webhook_attempts (
    delivery_id character varying NOT NULL,
    number integer NOT NULL,
    ended_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    milliseconds bigint NOT NULL,
    status integer,
    error character varying
);


--
-- Name: webhook_deliveries; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.webhook_deliveries (
    id character varying NOT NULL,
    endpoint_id character varying NOT NULL,
    event_id character varying NOT NULL,
    event_type character varying NOT NULL,
    body character varying NOT NULL,
    state character varying DEFAULT 'pending'::character varying NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    next_at timestamp with time zone,
    claimed_until timestamp with time zone,
    CONSTRAINT ck_webhook_deliveries_state CHECK (((state)::text = ANY ((ARRAY['pending'::character varying, 'succeeded'::character varying, 'failed'::character varying])::text[])))
);


--
-- Name: webhook_endpoints; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.webhook_endpoints (
    id character varying NOT NULL,
    project_id character varying NOT NULL,
    name character varying NOT NULL,
    url character varying NOT NULL,
    event_types jsonb NOT NULL,
    secret character varying NOT NULL,
    old_secret character varying,
    old_secret_until timestamp with time zone,
    created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    disabled_at timestamp with time zone
);


--
-- Name: workers; Type: TABLE; Schema: public; Owner: -
--

CREATE TABLE public.workers (
    name character varying NOT NULL,
    state character varying NOT NULL,
    started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    heartbeat_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT ck_workers_state CHECK (((state)::text = ANY ((ARRAY['active'::character varying, 'draining'::character varying, 'unhealthy'::character varying])::text[])))
);


--
-- Name: outbox id; Type: DEFAULT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.outbox ALTER COLUMN id SET DEFAULT nextval('public.outbox_id_seq'::regclass);


--
-- Data for Name: admin_keys; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.admin_keys VALUES
	('key_1nsHc5V9XqJyd8MP', 'org-Nn49KPHVgdiHPayyJSyFGEq2', 'second', '\x2f125c097b80920d08ab33e2782568ffbca33dae2e83703fff4167e50fe69396', 'sk-a…7NN0', '2026-11-29 01:50:55.645248+00', NULL, NULL, NULL),
	('key_wlFZuIGrtAUYv4xN', 'org-Nn49KPHVgdiHPayyJSyFGEq2', 'first', '\x6c52842b4583e4e94fb7ffe18cd1543cc893feaefc82ca7b0a2e68e0bf8a2c7d', 'sk-a…vhL0', '2026-11-29 01:50:33.256114+00', '2026-11-29 01:53:02.902149+00', NULL, NULL);


--
-- Data for Name: alembic_version; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.alembic_version VALUES
	('0015');


--
-- Data for Name: api_keys; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.api_keys VALUES
	('key_WcG6BQRa2IyIIwKo', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'first', '\x1781008b905fe1f0420d2e32a9a8ff6d7ec1e85eddd4b7f708cefade3e3182f5', 'sk-l…e_Hg', '2026-11-29 01:50:33.191434+00', '2026-11-29 01:52:56.332287+00', NULL, NULL, NULL),
	('key_aSkbETRxyx3upEKI', 'proj_eagVkFCQ6UjRtcFIWtK0woHu', 'Secret Key', '\xe832a1af5d11905d8dd9742e4796bebd8309e97fa5c65a14c81eb877ad89a842', 'sk-l…fffs', '2026-11-29 01:50:55.277578+00', '2026-11-29 01:53:09.098866+00', NULL, NULL, 'svc_acct_2Tme2LdwAwhvSjqFfcXZur7k');


--
-- Data for Name: checkpoint_permissions; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.checkpoint_permissions VALUES
	('cp_LkHskELqp6MZySHg2k33XTee', 'ft:tiny:luthier:desk:WGT0tlVp', 'proj_eagVkFCQ6UjRtcFIWtK0woHu', '2026-11-29 01:53:02.945914+00');


--
-- Data for Name: checkpoints; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.checkpoints VALUES
	('ftckpt_aaAWc262QUXqR39FcPFYWdJI', 'ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 1, 3, 'user', 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/jobs/ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS/e1/step-3', '814ade0f8f2f9bea635d62a1bb96f80178b9008dfb078dbdc484269e081f993c', 40082, 'ft:tiny:luthier:desk:lIVDP2To:ckpt-step-3', '{"step": 3, "train_loss": 5.574444198608399, "valid_loss": 5.554710388183594, "full_valid_loss": 5.554710388183594, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0, "full_valid_mean_token_accuracy": 0.0}', '2026-11-29 01:51:17.893149+00', NULL),
	('ftckpt_jZd6XeOZL0d8LGiJJhSpmoRE', 'ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 1, 6, 'user', 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/jobs/ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS/e1/step-6', '34a435984efc3aac282a6e5bd4c53c917cac29d8e5bbb96a8136d4f7aa4a5ad2', 40082, 'ft:tiny:luthier:desk:WGT0tlVp', '{"step": 6, "train_loss": 5.5597310066223145, "valid_loss": 5.549119313557942, "full_valid_loss": 5.549119313557942, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0, "full_valid_mean_token_accuracy": 0.0}', '2026-11-29 01:51:18.072743+00', NULL),
	('ftckpt_GZFaHVWgW1bOuSkF7Gjvlt0b', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 1, 6, 'user', 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/jobs/ftjob-E9xBGfTKe9Or1WC2CJfe5DrV/e1/step-6', '35a5554d967e8129c8276f5e49d83ab529fc363a889f074c806b33e48ba9e5cc', 46542, 'ft:tiny-encoder:luthier:parts:wGV7AfOz:ckpt-step-6', '{"step": 6, "train_loss": 1.3694144487380981, "valid_loss": 1.1191399097442627, "valid_roc_auc": 0.7037037037037038, "valid_accuracy": 0.3333333333333333, "valid_f1_macro": 0.16666666666666666, "valid_f1_micro": 0.3333333333333333, "full_valid_loss": 1.124538739522298, "valid_f1_weighted": 0.16666666666666666, "valid_recall_macro": 0.3333333333333333, "valid_recall_micro": 0.3333333333333333, "valid_precision_macro": 0.1111111111111111, "valid_precision_micro": 0.3333333333333333, "valid_recall_weighted": 0.3333333333333333, "valid_precision_weighted": 0.1111111111111111, "train_mean_token_accuracy": 0.25, "valid_mean_token_accuracy": 0.25, "full_valid_mean_token_accuracy": 0.3333333333333333}', '2026-11-29 01:51:41.035594+00', NULL),
	('ftckpt_0czspi8bkPU7C8iviF9ErqUP', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 1, 12, 'user', 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/jobs/ftjob-E9xBGfTKe9Or1WC2CJfe5DrV/e1/step-12', '766d90069dfbb44a5dc8400cafcc82ab5cba7c8501207bbb33f3a55d91d0e4f2', 47839, 'ft:tiny-encoder:luthier:parts:fun8VMDd', '{"step": 12, "train_loss": 1.3154100179672241, "valid_loss": 1.0936048030853271, "valid_roc_auc": 0.6851851851851852, "valid_accuracy": 0.3333333333333333, "valid_f1_macro": 0.16666666666666666, "valid_f1_micro": 0.3333333333333333, "full_valid_loss": 1.0910815132988825, "valid_f1_weighted": 0.16666666666666666, "valid_recall_macro": 0.3333333333333333, "valid_recall_micro": 0.3333333333333333, "valid_precision_macro": 0.1111111111111111, "valid_precision_micro": 0.3333333333333333, "valid_recall_weighted": 0.3333333333333333, "valid_precision_weighted": 0.1111111111111111, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.25, "full_valid_mean_token_accuracy": 0.3333333333333333}', '2026-11-29 01:51:41.201948+00', NULL),
	('ftckpt_wqyBtZ9b2g2lTq47HAIyQVXJ', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 1, 85, 'resume', 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/jobs/ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ/e1/step-85', '1de30386be4ef6252270bc68875dbe1d753ac64f5b07ecba977a03531d0c2917', 40083, NULL, '{"step": 85, "train_loss": 5.502532958984375, "train_mean_token_accuracy": 0.0}', '2026-11-29 01:52:08.211715+00', NULL),
	('ftckpt_sTKqVAKYqW1xX4SfOXEH2I8q', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 1, 81, 'resume', 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/jobs/ftjob-GrlbsNKUtBWgmsDIwKLCefV3/e1/step-81', 'c23ce059e89faca0e664186e593ecd146e151a6169c4a06f09cbe4bc2f281f4f', 41611, NULL, '{"step": 81, "train_loss": 0.6787363886833191, "train_reward_margin": 0.029032327234745026, "train_reward_accuracy": 1.0}', '2026-11-29 01:52:31.463218+00', NULL),
	('ftckpt_zlT1QSeONozedcD07RfZYG74', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 1, 296, 'resume', 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/jobs/ftjob-yfUlXxXapNQX1dRQs1mmRAnj/e1/step-296', 'bc5d334d587f8f51cc2e081e8313851ec787374404afe65ffc422013149dfb49', 46544, NULL, '{"step": 296, "train_loss": 2.276771306991577, "train_mean_token_accuracy": 0.0}', '2026-11-29 01:52:56.970876+00', NULL),
	('ftckpt_uaWR8pYRlakp1ZOfvtlU6PQF', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 1, 180, 'user', 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/jobs/ftjob-yfUlXxXapNQX1dRQs1mmRAnj/e1/step-180', '18cf5d41aa42eec56974d6152779170db593fae52bebb466cade06d32a29128b', 46544, 'ft:tiny-encoder:luthier::u1Ipid8n:ckpt-step-180', '{"step": 180, "train_loss": 0.9606009721755981, "valid_loss": 0.9887853264808655, "valid_roc_auc": 0.9074074074074074, "valid_accuracy": 0.5555555555555556, "valid_f1_macro": 0.5555555555555555, "valid_f1_micro": 0.5555555555555556, "full_valid_loss": 1.0566902160644531, "valid_f1_weighted": 0.5555555555555556, "valid_recall_macro": 0.5555555555555555, "valid_recall_micro": 0.5555555555555556, "valid_precision_macro": 0.6888888888888888, "valid_precision_micro": 0.5555555555555556, "valid_recall_weighted": 0.5555555555555556, "valid_precision_weighted": 0.6888888888888889, "train_mean_token_accuracy": 1.0, "valid_mean_token_accuracy": 1.0, "full_valid_mean_token_accuracy": 0.5555555555555556}', '2026-11-29 01:52:55.910008+00', NULL);


--
-- Data for Name: duties; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.duties VALUES
	('sweep_unfinished_uploads', '2026-11-29 01:51:01.668463+00', 3600),
	('sweep_orphans', '2026-11-29 01:51:01.91025+00', 3600),
	('prune_deliveries', '2026-11-29 01:51:02.141704+00', 3600),
	('prune_outbox', '2026-11-29 01:51:02.14171+00', 600),
	('prune_repeats', '2026-11-29 01:51:02.141717+00', 600),
	('prune_traffic', '2026-11-29 01:51:02.14172+00', 600),
	('prune_workers', '2026-11-29 01:51:02.141723+00', 600),
	('expire_leases', '2026-11-29 01:53:09.543471+00', 5),
	('sweep_run_folders', '2026-11-29 01:53:10.471951+00', 0.5),
	('relay_outbox', '2026-11-29 01:53:11.462106+00', 0.5),
	('validate', '2026-11-29 01:53:11.784254+00', 0),
	('deliver_webhooks', '2026-11-29 01:53:11.854315+00', 0.5),
	('expire_files', '2026-11-29 01:53:02.879448+00', 60),
	('expire_uploads', '2026-11-29 01:53:02.879505+00', 60),
	('ring_again', '2026-11-29 01:53:02.879509+00', 30),
	('remove_parts', '2026-11-29 01:53:03.479439+00', 30);


--
-- Data for Name: files; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.files VALUES
	('file-il6VhugYcl0NglCpo1lQV2L5', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'chats.jsonl', 'fine-tune', 965, '4f77b536078132fb063d45ef2586cd901b73158a398943b2bcccfd1f8e46255d', 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/files/file-il6VhugYcl0NglCpo1lQV2L5', 'processed', NULL, 'chat', 12, NULL, '2026-11-29 01:50:56.385226+00', NULL, NULL, NULL),
	('file-3RnBnGmonWeiPtZEghdTK3C8', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'held.jsonl', 'fine-tune', 240, '5c483ee52c9b9d96712347f458b480303308555aa9817815111dbf90943102b3', 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/files/file-3RnBnGmonWeiPtZEghdTK3C8', 'processed', NULL, 'chat', 3, NULL, '2026-11-29 01:50:56.565805+00', NULL, NULL, NULL),
	('file-TyXRyzczRR9QcQVePQyqZJzI', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'labels.jsonl', 'fine-tune', 854, '726e5b37ff261d86ed1aa54500b0bfdfecc86903723fd895b8e4c006ec093132', 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/files/file-TyXRyzczRR9QcQVePQyqZJzI', 'processed', NULL, 'classification', 24, NULL, '2026-11-29 01:50:56.714965+00', NULL, NULL, '{"notes": [], "shape": "label", "labels": {"part-0": 8, "part-1": 8, "part-2": 8}, "conflicts": 0, "duplicates": 0, "first_lines": {"part-0": 1, "part-1": 2, "part-2": 3}}'),
	('file-go8Q7txaJguyJ2UQBjBQerce', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'held-labels.jsonl', 'fine-tune', 315, '97fcc101bff75a7e9c677309a96f4a5a1e0dcfb87bb4338ca69e5968a0086925', 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/files/file-go8Q7txaJguyJ2UQBjBQerce', 'processed', NULL, 'classification', 9, NULL, '2026-11-29 01:50:56.87696+00', NULL, NULL, '{"notes": [], "shape": "label", "labels": {"part-0": 3, "part-1": 3, "part-2": 3}, "conflicts": 0, "duplicates": 0, "first_lines": {"part-0": 1, "part-1": 2, "part-2": 3}}'),
	('file-qxmRyNCqe6h7Td6IxdiV85G7', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'step_metrics.csv', 'fine-tune-results', 222, '79c0b19f242f0d25b8896d7b52b212b9453684c9f02d8b76e7b173f57de8fe66', 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/files/file-qxmRyNCqe6h7Td6IxdiV85G7', 'processed', NULL, NULL, NULL, NULL, '2026-11-29 01:51:20.964878+00', NULL, NULL, NULL),
	('file-IaKt1GXrPCUtQuhbZJHmiZ71', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'step_metrics.csv', 'fine-tune-results', 882, 'df74b626b500815560fc9a5be4df1574e3c1dae94fa5a1a124a2f6214f898ccf', 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/files/file-IaKt1GXrPCUtQuhbZJHmiZ71', 'processed', NULL, NULL, NULL, NULL, '2026-11-29 01:51:46.049943+00', NULL, NULL, NULL),
	('file-tfbf6eWQL1ZLd4V0cVizqUkR', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'evaluation.json', 'fine-tune-results', 1296, '5184aa9d08707e1cff10be4be42dd887b0f7f61794c4a1936b3fb7da7fe4e2fc', 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/files/file-tfbf6eWQL1ZLd4V0cVizqUkR', 'processed', NULL, NULL, NULL, NULL, '2026-11-29 01:51:46.050014+00', NULL, NULL, NULL),
	('file-YJ9HeiPCgFncj5bI1CgY0sWe', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'broken.jsonl', 'fine-tune', 247, '0fd86e8c05f499be6e8ddf209edf7ae4f2a9281647c72d1fc047fadd621e7ac5', 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/files/file-YJ9HeiPCgFncj5bI1CgY0sWe', 'error', 'Invalid file format. Example 4 cannot be parsed. Error: line contains invalid json: Expecting property name enclosed in double quotes: line 1 column 2 (char 1) (line 4). Put keys and strings in double quotes.', 'chat', 4, '{"count": 1, "first": [{"code": "invalid_file_format", "line": 4, "offset": 240, "reason": "Example 4 cannot be parsed. Error: line contains invalid json: Expecting property name enclosed in double quotes: line 1 column 2 (char 1) (line 4). Put keys and strings in double quotes."}]}', '2026-11-29 01:51:46.47404+00', NULL, NULL, NULL),
	('file-q9w7pqKjCx6GBrbZilbC2Ppg', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'long.jsonl', 'fine-tune', 14902, '5c071a5225fbf62ef0b4af9192bc1fea41ec27a8b018a3f80195cd5c566b6f1a', 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/files/file-q9w7pqKjCx6GBrbZilbC2Ppg', 'processed', NULL, 'chat', 180, NULL, '2026-11-29 01:51:47.159709+00', NULL, NULL, NULL),
	('file-jjQy9lL7y1QOodz5fHfargru', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'pairs.jsonl', 'fine-tune', 31930, '7a4577d503b4fbeff9fc75beddba76fe09346d26c3c338d40662ab96249976fe', 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/files/file-jjQy9lL7y1QOodz5fHfargru', 'processed', NULL, 'preference', 180, NULL, '2026-11-29 01:51:47.307661+00', NULL, NULL, '{"notes": [], "shape": "", "labels": {}, "conflicts": 0, "duplicates": 0, "first_lines": {}}'),
	('file-3KISISp9o71lJsJCmorqlfnq', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'long-labels.jsonl', 'fine-tune', 6420, '551f764fd519054104ba151651ce2b5a48fc5c10c3bca7cde9f238e1ee1f60c1', 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/files/file-3KISISp9o71lJsJCmorqlfnq', 'processed', NULL, 'classification', 180, NULL, '2026-11-29 01:51:47.533992+00', NULL, NULL, '{"notes": [], "shape": "label", "labels": {"part-0": 60, "part-1": 60, "part-2": 60}, "conflicts": 0, "duplicates": 0, "first_lines": {"part-0": 1, "part-1": 2, "part-2": 3}}');


--
-- Data for Name: job_attempts; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.job_attempts VALUES
	('ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 1, 'trainer:19236:ea298115', '2026-11-29 01:51:02.064582+00', '2026-11-29 01:51:21.020921+00', 'done', 0),
	('ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 1, 'trainer:19236:ea298115', '2026-11-29 01:51:21.76503+00', '2026-11-29 01:51:46.089617+00', 'done', 0),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 1, 'trainer:19236:ea298115', '2026-11-29 01:51:47.859377+00', '2026-11-29 01:52:12.790124+00', 'yielded', 75),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 1, 'trainer:19236:ea298115', '2026-11-29 01:52:13.651903+00', '2026-11-29 01:52:35.910799+00', 'yielded', 75),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 1, 'trainer:19236:ea298115', '2026-11-29 01:52:37.019733+00', '2026-11-29 01:53:00.116685+00', 'yielded', 75),
	('ftjob-Jmdr7L9KEv2zZtqNhykfjPih', 1, 'trainer:19236:ea298115', '2026-11-29 01:53:00.346237+00', '2026-11-29 01:53:00.455295+00', 'cancelled', NULL);


--
-- Data for Name: job_events; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.job_events VALUES
	('ftevent-mwauFvzXhThoJMJsOdRUq9EY', 'ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 1, 0, 'created', '2026-11-29 01:50:57.026102+00', 'info', 'message', 'Created fine-tuning job: ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', '{}'),
	('ftevent-ueKrlKwIxOkwQfYyix3TJVwh', 'ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 2, 0, 'validating', '2026-11-29 01:50:57.026572+00', 'info', 'message', 'Validating training file: file-il6VhugYcl0NglCpo1lQV2L5 and validation file: file-3RnBnGmonWeiPtZEghdTK3C8', '{}'),
	('ftevent-mSE9zTzvQqJ2eDZt53rQ6ETs', 'ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 3, 0, 'validated', '2026-11-29 01:51:01.900634+00', 'info', 'message', 'Files validated, moving job to queued state', '{}'),
	('ftevent-NMcMJIAxCuhvuzkt5A2mBLib', 'ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 4, 1, 'started', '2026-11-29 01:51:02.105912+00', 'info', 'message', 'Fine-tuning job started', 'null'),
	('ftevent-cZOAPwWu5leeOkKg4TeZ2s76', 'ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 5, 1, 'step:1', '2026-11-29 01:51:17.811499+00', 'info', 'metrics', 'Step 1/6: training loss=5.57, validation loss=5.56', '{"step": 1, "train_loss": 5.571794033050537, "valid_loss": 5.563843409220378, "total_steps": 6, "tokens_per_second": 951.4, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0}'),
	('ftevent-o4pzoBnvGaD7x4EEWzabAxY2', 'ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 6, 1, 'step:2', '2026-11-29 01:51:17.81178+00', 'info', 'metrics', 'Step 2/6: training loss=5.56, validation loss=5.56', '{"step": 2, "train_loss": 5.556703355577257, "valid_loss": 5.5593217213948565, "total_steps": 6, "tokens_per_second": 1522.9, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0}'),
	('ftevent-qnRMWgDJ3nUm4ONRxsW5riEQ', 'ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 7, 1, 'step:3', '2026-11-29 01:51:17.811832+00', 'info', 'metrics', 'Step 3/6: training loss=5.57, validation loss=5.55, full validation loss=5.55', '{"step": 3, "train_loss": 5.574444198608399, "valid_loss": 5.554710388183594, "total_steps": 6, "full_valid_loss": 5.554710388183594, "tokens_per_second": 1853.7, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0, "full_valid_mean_token_accuracy": 0.0}'),
	('ftevent-7lSyvsD24QaZqSq7BwV0f9cR', 'ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 8, 1, 'step:4', '2026-11-29 01:51:17.811874+00', 'info', 'metrics', 'Step 4/6: training loss=5.57, validation loss=5.55', '{"step": 4, "train_loss": 5.5660858154296875, "valid_loss": 5.551524480183919, "total_steps": 6, "tokens_per_second": 2062.4, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0}'),
	('ftevent-h1w8unB6r6TnpNpfzEZ0XTN8', 'ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 9, 1, 'step:5', '2026-11-29 01:51:17.81191+00', 'info', 'metrics', 'Step 5/6: training loss=5.54, validation loss=5.55', '{"step": 5, "train_loss": 5.544676208496094, "valid_loss": 5.550204594930013, "total_steps": 6, "tokens_per_second": 2333.5, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0}'),
	('ftevent-eolgyURzG3eq3MlO36wLoaZR', 'ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 10, 1, 'step:6', '2026-11-29 01:51:17.811948+00', 'info', 'metrics', 'Step 6/6: training loss=5.56, validation loss=5.55, full validation loss=5.55', '{"step": 6, "train_loss": 5.5597310066223145, "valid_loss": 5.549119313557942, "total_steps": 6, "full_valid_loss": 5.549119313557942, "tokens_per_second": 2514.3, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0, "full_valid_mean_token_accuracy": 0.0}'),
	('ftevent-CsWpoITQMkbqR2KqIumF9S6Z', 'ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 11, 1, 'checkpoint:3', '2026-11-29 01:51:17.942859+00', 'info', 'message', 'Checkpoint created at step 3 with Snapshot ID: ft:tiny:luthier:desk:lIVDP2To:ckpt-step-3', '{}'),
	('ftevent-haF74orXuODgVXWE0DJZ5mId', 'ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 12, 1, 'model', '2026-11-29 01:51:21.060286+00', 'info', 'message', 'New fine-tuned model created: ft:tiny:luthier:desk:WGT0tlVp', '{}'),
	('ftevent-rJD2ObSqTOzeuLraBnaWx3aS', 'ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 13, 1, 'succeeded', '2026-11-29 01:51:21.060641+00', 'info', 'message', 'The job has successfully completed', '{}'),
	('ftevent-rMVDEnJXT3WQnv7pp7ZTAtXW', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 1, 0, 'created', '2026-11-29 01:51:21.607233+00', 'info', 'message', 'Created fine-tuning job: ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', '{}'),
	('ftevent-giWtw82gjrsDvYVyhRXihBi7', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 2, 0, 'validating', '2026-11-29 01:51:21.607481+00', 'info', 'message', 'Validating training file: file-TyXRyzczRR9QcQVePQyqZJzI and validation file: file-go8Q7txaJguyJ2UQBjBQerce', '{}'),
	('ftevent-guEXG92VurqDgoyDlPKRkBC4', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 3, 0, 'labels:file-TyXRyzczRR9QcQVePQyqZJzI', '2026-11-29 01:51:21.676123+00', 'info', 'message', 'file-TyXRyzczRR9QcQVePQyqZJzI: 3 label(s): "part-0" 8, "part-1" 8, "part-2" 8.', '{}'),
	('ftevent-vwFWavKftDRjSoJjGi7Fuh7i', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 4, 0, 'labels:file-go8Q7txaJguyJ2UQBjBQerce', '2026-11-29 01:51:21.676461+00', 'info', 'message', 'file-go8Q7txaJguyJ2UQBjBQerce: 3 label(s): "part-0" 3, "part-1" 3, "part-2" 3.', '{}'),
	('ftevent-BWglStOWOQaza47JNEe5LbLt', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 5, 0, 'validated', '2026-11-29 01:51:21.701896+00', 'info', 'message', 'Files validated, moving job to queued state', '{}'),
	('ftevent-ppy6CtTaUsWVXNQIyxTefCqI', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 6, 1, 'started', '2026-11-29 01:51:21.776528+00', 'info', 'message', 'Fine-tuning job started', 'null'),
	('ftevent-lt5Ubi56WXtnEV6NBOtdlOWi', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 7, 1, 'noted:0', '2026-11-29 01:51:39.796656+00', 'warn', 'message', '9 of 9 examples of the validation file are in the training file too: its measures are better than the model.', '{}'),
	('ftevent-pCdAGYdRxWbXx8sm3FusIwyj', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 8, 1, 'step:1', '2026-11-29 01:51:39.834978+00', 'info', 'metrics', 'Step 1/12: training loss=1.10, validation loss=1.07', '{"step": 1, "train_loss": 1.0981736183166504, "valid_loss": 1.066396713256836, "total_steps": 12, "tokens_per_second": 355.1, "train_mean_token_accuracy": 0.25, "valid_mean_token_accuracy": 0.5}'),
	('ftevent-WHqrOYoIbaRuDFJoRwK3VSCC', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 9, 1, 'step:2', '2026-11-29 01:51:40.885942+00', 'info', 'metrics', 'Step 2/12: training loss=1.21, validation loss=1.03', '{"step": 2, "train_loss": 1.2069382667541504, "valid_loss": 1.0275206565856934, "total_steps": 12, "tokens_per_second": 312.4, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0}'),
	('ftevent-jgSggdrEa1ljOFkjsLG2LPLZ', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 10, 1, 'step:3', '2026-11-29 01:51:40.886698+00', 'info', 'metrics', 'Step 3/12: training loss=1.22, validation loss=1.12', '{"step": 3, "train_loss": 1.215530514717102, "valid_loss": 1.1195237636566162, "total_steps": 12, "tokens_per_second": 365.4, "train_mean_token_accuracy": 0.25, "valid_mean_token_accuracy": 0.25}'),
	('ftevent-Sgi7t5Y3rNzIMn7l1L9E3PV9', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 11, 1, 'step:4', '2026-11-29 01:51:40.886795+00', 'info', 'metrics', 'Step 4/12: training loss=1.10, validation loss=1.14', '{"step": 4, "train_loss": 1.102514386177063, "valid_loss": 1.138001561164856, "total_steps": 12, "tokens_per_second": 406.3, "train_mean_token_accuracy": 0.5, "valid_mean_token_accuracy": 0.25}'),
	('ftevent-icwgulzvfTaV9PsbEvShTG2s', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 12, 1, 'step:5', '2026-11-29 01:51:40.886856+00', 'info', 'metrics', 'Step 5/12: training loss=1.00, validation loss=0.78', '{"step": 5, "train_loss": 0.9975455403327942, "valid_loss": 0.7823869585990906, "total_steps": 12, "tokens_per_second": 410.0, "train_mean_token_accuracy": 0.5, "valid_mean_token_accuracy": 1.0}'),
	('ftevent-upsQPnn7by2Oj1bU2GsRUh0Y', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 13, 1, 'step:6', '2026-11-29 01:51:40.886885+00', 'info', 'metrics', 'Step 6/12: training loss=1.37, validation loss=1.12, full validation loss=1.12', '{"step": 6, "train_loss": 1.3694144487380981, "valid_loss": 1.1191399097442627, "total_steps": 12, "valid_roc_auc": 0.7037037037037038, "valid_accuracy": 0.3333333333333333, "valid_f1_macro": 0.16666666666666666, "valid_f1_micro": 0.3333333333333333, "full_valid_loss": 1.124538739522298, "tokens_per_second": 247.6, "valid_f1_weighted": 0.16666666666666666, "valid_recall_macro": 0.3333333333333333, "valid_recall_micro": 0.3333333333333333, "valid_precision_macro": 0.1111111111111111, "valid_precision_micro": 0.3333333333333333, "valid_recall_weighted": 0.3333333333333333, "valid_precision_weighted": 0.1111111111111111, "train_mean_token_accuracy": 0.25, "valid_mean_token_accuracy": 0.25, "full_valid_mean_token_accuracy": 0.3333333333333333}'),
	('ftevent-lEF8gc7bfUxQvhZkMnrc11z1', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 14, 1, 'step:7', '2026-11-29 01:51:40.887195+00', 'info', 'metrics', 'Step 7/12: training loss=1.10, validation loss=1.14', '{"step": 7, "train_loss": 1.1035501956939697, "valid_loss": 1.1421204805374146, "total_steps": 12, "tokens_per_second": 245.0, "train_mean_token_accuracy": 0.25, "valid_mean_token_accuracy": 0.5}'),
	('ftevent-6ZgJ5nMkNcmmbhZHt4C3NfpW', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 15, 1, 'step:8', '2026-11-29 01:51:40.887222+00', 'info', 'metrics', 'Step 8/12: training loss=1.05, validation loss=0.94', '{"step": 8, "train_loss": 1.0518490076065063, "valid_loss": 0.9377198815345764, "total_steps": 12, "tokens_per_second": 270.8, "train_mean_token_accuracy": 0.75, "valid_mean_token_accuracy": 1.0}'),
	('ftevent-KXOOLLRk5MyrHNSHvBx7xOk4', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 16, 1, 'step:9', '2026-11-29 01:51:40.887243+00', 'info', 'metrics', 'Step 9/12: training loss=1.12, validation loss=1.09', '{"step": 9, "train_loss": 1.1160227060317993, "valid_loss": 1.0878336429595947, "total_steps": 12, "tokens_per_second": 295.4, "train_mean_token_accuracy": 0.25, "valid_mean_token_accuracy": 0.25}'),
	('ftevent-HICOJ6d2LpF4f8cpboIlMXYX', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 17, 1, 'step:10', '2026-11-29 01:51:40.887264+00', 'info', 'metrics', 'Step 10/12: training loss=1.09, validation loss=1.15', '{"step": 10, "train_loss": 1.0888020992279053, "valid_loss": 1.1519190073013306, "total_steps": 12, "tokens_per_second": 321.9, "train_mean_token_accuracy": 0.25, "valid_mean_token_accuracy": 0.25}'),
	('ftevent-42E5Dhn0wjb619Z5qOWW4U47', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 18, 1, 'step:11', '2026-11-29 01:51:40.887285+00', 'info', 'metrics', 'Step 11/12: training loss=1.11, validation loss=0.86', '{"step": 11, "train_loss": 1.1059777736663818, "valid_loss": 0.8582499027252197, "total_steps": 12, "tokens_per_second": 344.6, "train_mean_token_accuracy": 0.5, "valid_mean_token_accuracy": 1.0}'),
	('ftevent-vLngMdaXUMNMsDNZsrpAywmW', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 19, 1, 'step:12', '2026-11-29 01:51:40.887311+00', 'info', 'metrics', 'Step 12/12: training loss=1.32, validation loss=1.09, full validation loss=1.09', '{"step": 12, "train_loss": 1.3154100179672241, "valid_loss": 1.0936048030853271, "total_steps": 12, "valid_roc_auc": 0.6851851851851852, "valid_accuracy": 0.3333333333333333, "valid_f1_macro": 0.16666666666666666, "valid_f1_micro": 0.3333333333333333, "full_valid_loss": 1.0910815132988825, "tokens_per_second": 320.0, "valid_f1_weighted": 0.16666666666666666, "valid_recall_macro": 0.3333333333333333, "valid_recall_micro": 0.3333333333333333, "valid_precision_macro": 0.1111111111111111, "valid_precision_micro": 0.3333333333333333, "valid_recall_weighted": 0.3333333333333333, "valid_precision_weighted": 0.1111111111111111, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.25, "full_valid_mean_token_accuracy": 0.3333333333333333}'),
	('ftevent-50kdhKuELnPCengFZwgqlKzG', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 5, 1, 'step:1', '2026-11-29 01:52:06.97852+00', 'info', 'metrics', 'Step 1/180: training loss=5.57', '{"step": 1, "train_loss": 5.568351745605469, "total_steps": 180, "tokens_per_second": 249.6, "train_mean_token_accuracy": 0.0}'),
	('ftevent-3WJTsTxpnwPlIxUK3lO7hjFQ', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 6, 1, 'step:2', '2026-11-29 01:52:06.989564+00', 'info', 'metrics', 'Step 2/180: training loss=5.57', '{"step": 2, "train_loss": 5.567756652832031, "total_steps": 180, "tokens_per_second": 438.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-cvYeuYB8DWzciz1p5cc1FPta', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 7, 1, 'step:3', '2026-11-29 01:52:06.989761+00', 'info', 'metrics', 'Step 3/180: training loss=5.56', '{"step": 3, "train_loss": 5.560469627380371, "total_steps": 180, "tokens_per_second": 489.6, "train_mean_token_accuracy": 0.0}'),
	('ftevent-X1VVfvkB5MOT96xvFBhrtU7x', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 8, 1, 'step:4', '2026-11-29 01:52:06.989804+00', 'info', 'metrics', 'Step 4/180: training loss=5.56', '{"step": 4, "train_loss": 5.561888694763184, "total_steps": 180, "tokens_per_second": 491.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-hhXt2dkiix8YdKAM5eWsD9nr', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 9, 1, 'step:5', '2026-11-29 01:52:06.98984+00', 'info', 'metrics', 'Step 5/180: training loss=5.57', '{"step": 5, "train_loss": 5.574724197387695, "total_steps": 180, "tokens_per_second": 581.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-98hsEP7AJVkV9vmfzIG0y1nc', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 10, 1, 'step:6', '2026-11-29 01:52:06.989862+00', 'info', 'metrics', 'Step 6/180: training loss=5.58', '{"step": 6, "train_loss": 5.577243804931641, "total_steps": 180, "tokens_per_second": 642.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-WcpJKEm4LuN0PBvIhPOTwMFU', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 11, 1, 'step:7', '2026-11-29 01:52:06.989884+00', 'info', 'metrics', 'Step 7/180: training loss=5.54', '{"step": 7, "train_loss": 5.537697474161784, "total_steps": 180, "tokens_per_second": 707.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-gEiN6GllgATPevPmcUwDte3M', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 12, 1, 'step:8', '2026-11-29 01:52:06.989903+00', 'info', 'metrics', 'Step 8/180: training loss=5.58', '{"step": 8, "train_loss": 5.578986485799153, "total_steps": 180, "tokens_per_second": 758.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-7kvgoTjYWCz91klAbsFH3cwY', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 13, 1, 'step:9', '2026-11-29 01:52:06.989921+00', 'info', 'metrics', 'Step 9/180: training loss=5.54', '{"step": 9, "train_loss": 5.544947147369385, "total_steps": 180, "tokens_per_second": 829.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-sxtVTY9AyF99AYMojF9slApu', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 14, 1, 'step:10', '2026-11-29 01:52:06.989939+00', 'info', 'metrics', 'Step 10/180: training loss=5.53', '{"step": 10, "train_loss": 5.527514934539795, "total_steps": 180, "tokens_per_second": 896.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-A0Wi0vZzkURk3AGH5SfJ2og7', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 15, 1, 'step:11', '2026-11-29 01:52:06.989956+00', 'info', 'metrics', 'Step 11/180: training loss=5.54', '{"step": 11, "train_loss": 5.542701721191406, "total_steps": 180, "tokens_per_second": 935.6, "train_mean_token_accuracy": 0.0}'),
	('ftevent-MDsnYA0pQmzbUpyiInUVOFDW', 'ftjob-Jmdr7L9KEv2zZtqNhykfjPih', 5, 2, 'cancelled', '2026-11-29 01:53:00.48079+00', 'info', 'message', 'The job has been cancelled', '{}'),
	('ftevent-lSUCTW9MXWD0Tec1znm7Qact', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 20, 1, 'checkpoint:6', '2026-11-29 01:51:41.059949+00', 'info', 'message', 'Checkpoint created at step 6 with Snapshot ID: ft:tiny-encoder:luthier:parts:wGV7AfOz:ckpt-step-6', '{}'),
	('ftevent-uSYiNF9CP6qdAjGUDVV57J8t', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 21, 1, 'model', '2026-11-29 01:51:46.109794+00', 'info', 'message', 'New fine-tuned model created: ft:tiny-encoder:luthier:parts:fun8VMDd', '{}'),
	('ftevent-SjMGdFC6DUCIiyWotpe364QT', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 22, 1, 'succeeded', '2026-11-29 01:51:46.109886+00', 'info', 'message', 'The job has successfully completed', '{}'),
	('ftevent-TAXRQtA4BdOVPINMJ9tjhrSg', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 4, 1, 'started', '2026-11-29 01:52:13.668567+00', 'info', 'message', 'Fine-tuning job started', 'null'),
	('ftevent-yrlR0CfCe9sV2EqvkjFQFal9', 'ftjob-zI4hupoppXywdYq1RNqYDY5A', 1, 0, 'created', '2026-11-29 01:51:46.644918+00', 'info', 'message', 'Created fine-tuning job: ftjob-zI4hupoppXywdYq1RNqYDY5A', '{}'),
	('ftevent-ilGUaRPjJjyAHSXb1BPku7cs', 'ftjob-zI4hupoppXywdYq1RNqYDY5A', 2, 0, 'validating', '2026-11-29 01:51:46.645282+00', 'info', 'message', 'Validating training file: file-YJ9HeiPCgFncj5bI1CgY0sWe', '{}'),
	('ftevent-Mne4pKqRmcyOQIEurOnm10ME', 'ftjob-zI4hupoppXywdYq1RNqYDY5A', 3, 0, 'failed', '2026-11-29 01:51:46.75714+00', 'error', 'message', 'The job failed due to a file format error in the training file. Invalid file format. Example 4 cannot be parsed. Error: line contains invalid json: Expecting property name enclosed in double quotes: line 1 column 2 (char 1) (line 4). Put keys and strings in double quotes.', '{}'),
	('ftevent-IlmivMLu91o7z7Otu02CVauN', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 1, 0, 'created', '2026-11-29 01:51:47.720686+00', 'info', 'message', 'Created fine-tuning job: ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', '{}'),
	('ftevent-NM0yEc3cIKkrsGDpGh8F4A6z', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 2, 0, 'validating', '2026-11-29 01:51:47.720773+00', 'info', 'message', 'Validating training file: file-q9w7pqKjCx6GBrbZilbC2Ppg', '{}'),
	('ftevent-XXbPHAfI2EZOFciAXp9kFjJq', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 3, 0, 'validated', '2026-11-29 01:51:47.795012+00', 'info', 'message', 'Files validated, moving job to queued state', '{}'),
	('ftevent-0OqfIRWhnVNkTjl0LCqnJsRQ', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 55, 1, 'pausing:2', '2026-11-29 01:52:07.340739+00', 'info', 'message', 'The job is being paused', '{}'),
	('ftevent-rTuZ4AgTtLOEIMFhpfDIDW6e', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 1, 0, 'created', '2026-11-29 01:52:13.391996+00', 'info', 'message', 'Created fine-tuning job: ftjob-GrlbsNKUtBWgmsDIwKLCefV3', '{}'),
	('ftevent-5GVxqmpBT5WyEQDUegVBAoy8', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 2, 0, 'validating', '2026-11-29 01:52:13.392165+00', 'info', 'message', 'Validating training file: file-jjQy9lL7y1QOodz5fHfargru', '{}'),
	('ftevent-WkdMU79SYrK8TJEmoOyRtsot', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 4, 1, 'started', '2026-11-29 01:51:47.865762+00', 'info', 'message', 'Fine-tuning job started', 'null'),
	('ftevent-OOksRvVKHHIKQlhaB9wI1UQI', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 91, 1, 'paused:1', '2026-11-29 01:52:12.802543+00', 'info', 'message', 'The job has been paused', '{}'),
	('ftevent-VjJ66olvIPZYnN7McJjfDxEk', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 5, 1, 'step:1', '2026-11-29 01:52:28.6534+00', 'info', 'metrics', 'Step 1/180: training loss=0.69', '{"step": 1, "train_loss": 0.6931471824645996, "total_steps": 180, "tokens_per_second": 2148.7, "train_reward_margin": 0.0, "train_reward_accuracy": 0.0}'),
	('ftevent-RNWBYJJ9OD2G184ez5fFOo4t', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 6, 1, 'step:2', '2026-11-29 01:52:28.653558+00', 'info', 'metrics', 'Step 2/180: training loss=0.69', '{"step": 2, "train_loss": 0.6931331753730774, "total_steps": 180, "tokens_per_second": 3595.7, "train_reward_margin": 0.00002803802453854587, "train_reward_accuracy": 1.0}'),
	('ftevent-xDIYSCK6VEJsJbSuTxytVvB4', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 7, 1, 'step:3', '2026-11-29 01:52:28.653613+00', 'info', 'metrics', 'Step 3/180: training loss=0.69', '{"step": 3, "train_loss": 0.6930848956108093, "total_steps": 180, "tokens_per_second": 3370.7, "train_reward_margin": 0.00012454987154342234, "train_reward_accuracy": 1.0}'),
	('ftevent-dYlBCLThz98aqx2Dkl7QnuwQ', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 8, 1, 'step:4', '2026-11-29 01:52:28.65372+00', 'info', 'metrics', 'Step 4/180: training loss=0.69', '{"step": 4, "train_loss": 0.6930395364761353, "total_steps": 180, "tokens_per_second": 3193.9, "train_reward_margin": 0.0002153396635549143, "train_reward_accuracy": 1.0}'),
	('ftevent-RwCYza1CaT9TnveE6URSyule', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 9, 1, 'step:5', '2026-11-29 01:52:28.65375+00', 'info', 'metrics', 'Step 5/180: training loss=0.69', '{"step": 5, "train_loss": 0.6930367350578308, "total_steps": 180, "tokens_per_second": 3774.8, "train_reward_margin": 0.0002208709775004536, "train_reward_accuracy": 1.0}'),
	('ftevent-bHzk6jyDIOoDaNuEto7MijQx', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 10, 1, 'step:6', '2026-11-29 01:52:29.764494+00', 'info', 'metrics', 'Step 6/180: training loss=0.69', '{"step": 6, "train_loss": 0.6929528713226318, "total_steps": 180, "tokens_per_second": 4263.1, "train_reward_margin": 0.0003887176571879536, "train_reward_accuracy": 1.0}'),
	('ftevent-olWl13K8Eh4xZ7cpj4TC8MUK', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 11, 1, 'step:7', '2026-11-29 01:52:29.765785+00', 'info', 'metrics', 'Step 7/180: training loss=0.69', '{"step": 7, "train_loss": 0.6929014325141907, "total_steps": 180, "tokens_per_second": 4369.0, "train_reward_margin": 0.0004915237659588456, "train_reward_accuracy": 1.0}'),
	('ftevent-nUYWsLsvomkh6qn6JpuLgEQb', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 12, 1, 'step:8', '2026-11-29 01:52:29.765881+00', 'info', 'metrics', 'Step 8/180: training loss=0.69', '{"step": 8, "train_loss": 0.6927815079689026, "total_steps": 180, "tokens_per_second": 4672.6, "train_reward_margin": 0.0007314682006835938, "train_reward_accuracy": 1.0}'),
	('ftevent-uSw9VF9Axl69V8Ezzc01MOPd', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 13, 1, 'step:9', '2026-11-29 01:52:29.765912+00', 'info', 'metrics', 'Step 9/180: training loss=0.69', '{"step": 9, "train_loss": 0.69266676902771, "total_steps": 180, "tokens_per_second": 5021.1, "train_reward_margin": 0.0009611130226403475, "train_reward_accuracy": 1.0}'),
	('ftevent-AMoac49829RoAw13Y5XGDjuI', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 14, 1, 'step:10', '2026-11-29 01:52:29.765954+00', 'info', 'metrics', 'Step 10/180: training loss=0.69', '{"step": 10, "train_loss": 0.6924856305122375, "total_steps": 180, "tokens_per_second": 5357.5, "train_reward_margin": 0.0013235092628747225, "train_reward_accuracy": 1.0}'),
	('ftevent-CGlnSLYMLajutwJDoTsjiuih', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 15, 1, 'step:11', '2026-11-29 01:52:29.766021+00', 'info', 'metrics', 'Step 11/180: training loss=0.69', '{"step": 11, "train_loss": 0.6923622488975525, "total_steps": 180, "tokens_per_second": 5639.2, "train_reward_margin": 0.0015705109108239412, "train_reward_accuracy": 1.0}'),
	('ftevent-EfNuTQtyYhPZLgKdyZeFIyOb', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 16, 1, 'step:12', '2026-11-29 01:52:29.766045+00', 'info', 'metrics', 'Step 12/180: training loss=0.69', '{"step": 12, "train_loss": 0.6921263933181763, "total_steps": 180, "tokens_per_second": 5908.5, "train_reward_margin": 0.002042579697445035, "train_reward_accuracy": 1.0}'),
	('ftevent-7CZ3KBgrgeicyJTwlEmvUTVD', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 17, 1, 'step:13', '2026-11-29 01:52:29.766097+00', 'info', 'metrics', 'Step 13/180: training loss=0.69', '{"step": 13, "train_loss": 0.6919803023338318, "total_steps": 180, "tokens_per_second": 6174.4, "train_reward_margin": 0.002335167024284601, "train_reward_accuracy": 1.0}'),
	('ftevent-PTVfKwAQxjtZQ6qWgtn9DK6G', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 18, 1, 'step:14', '2026-11-29 01:52:29.766121+00', 'info', 'metrics', 'Step 14/180: training loss=0.69', '{"step": 14, "train_loss": 0.6917367577552795, "total_steps": 180, "tokens_per_second": 6435.0, "train_reward_margin": 0.0028228759765625, "train_reward_accuracy": 1.0}'),
	('ftevent-xLp53pVYNRioXBeUB0YSUbpJ', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 19, 1, 'step:15', '2026-11-29 01:52:29.766144+00', 'info', 'metrics', 'Step 15/180: training loss=0.69', '{"step": 15, "train_loss": 0.6915540099143982, "total_steps": 180, "tokens_per_second": 6667.8, "train_reward_margin": 0.0031888962257653475, "train_reward_accuracy": 1.0}'),
	('ftevent-F9MJTZX1tlAPzcvCszQvpcHL', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 20, 1, 'step:16', '2026-11-29 01:52:29.766175+00', 'info', 'metrics', 'Step 16/180: training loss=0.69', '{"step": 16, "train_loss": 0.6913458704948425, "total_steps": 180, "tokens_per_second": 6858.0, "train_reward_margin": 0.0036058425903320312, "train_reward_accuracy": 1.0}'),
	('ftevent-cWNq73i0pWiEL7lyYK4OKUFO', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 21, 1, 'step:17', '2026-11-29 01:52:29.766196+00', 'info', 'metrics', 'Step 17/180: training loss=0.69', '{"step": 17, "train_loss": 0.69117671251297, "total_steps": 180, "tokens_per_second": 7058.7, "train_reward_margin": 0.003944778349250555, "train_reward_accuracy": 1.0}'),
	('ftevent-6igZtS00FXJSJtUCHWClsn8n', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 22, 1, 'step:18', '2026-11-29 01:52:29.766217+00', 'info', 'metrics', 'Step 18/180: training loss=0.69', '{"step": 18, "train_loss": 0.6908572912216187, "total_steps": 180, "tokens_per_second": 7243.8, "train_reward_margin": 0.004585075192153454, "train_reward_accuracy": 1.0}'),
	('ftevent-C0DQNu16kcww9qc3HmNxAdbv', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 23, 1, 'step:19', '2026-11-29 01:52:29.766238+00', 'info', 'metrics', 'Step 19/180: training loss=0.69', '{"step": 19, "train_loss": 0.6906964778900146, "total_steps": 180, "tokens_per_second": 7418.0, "train_reward_margin": 0.004907417111098766, "train_reward_accuracy": 1.0}'),
	('ftevent-52Bi3gWzKQqLKmubXyUAnUEa', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 24, 1, 'step:20', '2026-11-29 01:52:29.766261+00', 'info', 'metrics', 'Step 20/180: training loss=0.69', '{"step": 20, "train_loss": 0.6904452443122864, "total_steps": 180, "tokens_per_second": 7575.1, "train_reward_margin": 0.0054111480712890625, "train_reward_accuracy": 1.0}'),
	('ftevent-VMjicDCO5clWRzAr3RMUACCC', 'ftjob-Jmdr7L9KEv2zZtqNhykfjPih', 2, 0, 'validating', '2026-11-29 01:53:00.274891+00', 'info', 'message', 'Validating training file: file-il6VhugYcl0NglCpo1lQV2L5', '{}'),
	('ftevent-FZe0jhqAMqa9V3C023kWMoIB', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 16, 1, 'step:12', '2026-11-29 01:52:06.989977+00', 'info', 'metrics', 'Step 12/180: training loss=5.57', '{"step": 12, "train_loss": 5.566630681355794, "total_steps": 180, "tokens_per_second": 983.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-gUykdVYiHG9rFVbKgpL610h4', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 17, 1, 'step:13', '2026-11-29 01:52:06.990089+00', 'info', 'metrics', 'Step 13/180: training loss=5.55', '{"step": 13, "train_loss": 5.548877716064453, "total_steps": 180, "tokens_per_second": 1026.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-pAmxbp7bVvEdcfX57e63jQ8Y', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 18, 1, 'step:14', '2026-11-29 01:52:06.990109+00', 'info', 'metrics', 'Step 14/180: training loss=5.53', '{"step": 14, "train_loss": 5.526877085367839, "total_steps": 180, "tokens_per_second": 1073.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-f4OgHVoOYaHKU7KEyBmUqMX9', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 19, 1, 'step:15', '2026-11-29 01:52:06.990128+00', 'info', 'metrics', 'Step 15/180: training loss=5.54', '{"step": 15, "train_loss": 5.539466381072998, "total_steps": 180, "tokens_per_second": 1107.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-37NIImFEjkpP4OmXoGFqrbAz', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 20, 1, 'step:16', '2026-11-29 01:52:06.990146+00', 'info', 'metrics', 'Step 16/180: training loss=5.53', '{"step": 16, "train_loss": 5.533679008483887, "total_steps": 180, "tokens_per_second": 1143.0, "train_mean_token_accuracy": 0.0}'),
	('ftevent-glQ3vyrqJSkOEbreXZ4OlQx6', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 21, 1, 'step:17', '2026-11-29 01:52:06.990164+00', 'info', 'metrics', 'Step 17/180: training loss=5.54', '{"step": 17, "train_loss": 5.538321812947591, "total_steps": 180, "tokens_per_second": 1168.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-3QmWejYsjygVDTVzjcga1jar', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 22, 1, 'step:18', '2026-11-29 01:52:06.990184+00', 'info', 'metrics', 'Step 18/180: training loss=5.49', '{"step": 18, "train_loss": 5.493504524230957, "total_steps": 180, "tokens_per_second": 1194.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-c8WZSClBC5rl9X6wX3wMeLis', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 23, 1, 'step:19', '2026-11-29 01:52:06.990202+00', 'info', 'metrics', 'Step 19/180: training loss=5.55', '{"step": 19, "train_loss": 5.550862630208333, "total_steps": 180, "tokens_per_second": 1208.0, "train_mean_token_accuracy": 0.0}'),
	('ftevent-HT7UQzRq3eMfDkiCC1brKCVS', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 24, 1, 'step:20', '2026-11-29 01:52:06.990221+00', 'info', 'metrics', 'Step 20/180: training loss=5.53', '{"step": 20, "train_loss": 5.525511741638184, "total_steps": 180, "tokens_per_second": 1243.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-rgnYvh3hSvES4kE682YIj3nr', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 25, 1, 'step:21', '2026-11-29 01:52:06.99024+00', 'info', 'metrics', 'Step 21/180: training loss=5.51', '{"step": 21, "train_loss": 5.506644248962402, "total_steps": 180, "tokens_per_second": 1283.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-44b351wISZTRoliJAclEZ46M', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 26, 1, 'step:22', '2026-11-29 01:52:06.990258+00', 'info', 'metrics', 'Step 22/180: training loss=5.55', '{"step": 22, "train_loss": 5.552286783854167, "total_steps": 180, "tokens_per_second": 1321.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-Qalwyx3vdy4d6pAti6OqB4SF', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 27, 1, 'step:23', '2026-11-29 01:52:06.990277+00', 'info', 'metrics', 'Step 23/180: training loss=5.51', '{"step": 23, "train_loss": 5.514276504516602, "total_steps": 180, "tokens_per_second": 1345.6, "train_mean_token_accuracy": 0.0}'),
	('ftevent-1WlG3bOumGuiXX49yxCDEyVY', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 28, 1, 'step:24', '2026-11-29 01:52:06.990299+00', 'info', 'metrics', 'Step 24/180: training loss=5.52', '{"step": 24, "train_loss": 5.521374384562175, "total_steps": 180, "tokens_per_second": 1386.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-2piMO5CrdAMRWtajxPRQ4118', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 29, 1, 'step:25', '2026-11-29 01:52:06.990318+00', 'info', 'metrics', 'Step 25/180: training loss=5.54', '{"step": 25, "train_loss": 5.5386152267456055, "total_steps": 180, "tokens_per_second": 1426.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-e9MX1cyPfoaa7g7txG7dg1TG', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 30, 1, 'step:26', '2026-11-29 01:52:06.990364+00', 'info', 'metrics', 'Step 26/180: training loss=5.54', '{"step": 26, "train_loss": 5.5369307200113935, "total_steps": 180, "tokens_per_second": 1462.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-fqWN3aCVBIgv6db4RDT3cbwD', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 31, 1, 'step:27', '2026-11-29 01:52:06.990386+00', 'info', 'metrics', 'Step 27/180: training loss=5.51', '{"step": 27, "train_loss": 5.513512134552002, "total_steps": 180, "tokens_per_second": 1497.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-1CIQaOt8Nw921Q6LP0F2PIos', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 32, 1, 'step:28', '2026-11-29 01:52:06.990405+00', 'info', 'metrics', 'Step 28/180: training loss=5.52', '{"step": 28, "train_loss": 5.518095970153809, "total_steps": 180, "tokens_per_second": 1542.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-NI5FnRi8jZuoqimDMq0ZOeiC', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 33, 1, 'step:29', '2026-11-29 01:52:06.990425+00', 'info', 'metrics', 'Step 29/180: training loss=5.57', '{"step": 29, "train_loss": 5.566883563995361, "total_steps": 180, "tokens_per_second": 1577.6, "train_mean_token_accuracy": 0.0}'),
	('ftevent-FPfkq8Z9NaxwCguOUPnl56Bz', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 34, 1, 'step:30', '2026-11-29 01:52:06.990446+00', 'info', 'metrics', 'Step 30/180: training loss=5.54', '{"step": 30, "train_loss": 5.539165496826172, "total_steps": 180, "tokens_per_second": 1610.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-2IdH29aXMK8d5GmytVQhbuAa', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 35, 1, 'step:31', '2026-11-29 01:52:06.990465+00', 'info', 'metrics', 'Step 31/180: training loss=5.54', '{"step": 31, "train_loss": 5.544765472412109, "total_steps": 180, "tokens_per_second": 1640.5, "train_mean_token_accuracy": 0.0}');
INSERT INTO public.job_events VALUES
	('ftevent-JvPSqwIvjeOoCifX6hKzpysd', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 36, 1, 'step:32', '2026-11-29 01:52:06.990484+00', 'info', 'metrics', 'Step 32/180: training loss=5.52', '{"step": 32, "train_loss": 5.5174031257629395, "total_steps": 180, "tokens_per_second": 1664.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-YYJnPxfEJ7TrkUlTsNLP3xLD', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 37, 1, 'step:33', '2026-11-29 01:52:06.990503+00', 'info', 'metrics', 'Step 33/180: training loss=5.50', '{"step": 33, "train_loss": 5.497291564941406, "total_steps": 180, "tokens_per_second": 1692.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-EgQmXOffFGnFCtMxWuT8ePDU', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 38, 1, 'step:34', '2026-11-29 01:52:06.990522+00', 'info', 'metrics', 'Step 34/180: training loss=5.55', '{"step": 34, "train_loss": 5.545643329620361, "total_steps": 180, "tokens_per_second": 1723.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-bCnIxJ0rls2U4oSz3g4dH4VD', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 39, 1, 'step:35', '2026-11-29 01:52:06.990542+00', 'info', 'metrics', 'Step 35/180: training loss=5.51', '{"step": 35, "train_loss": 5.5113091468811035, "total_steps": 180, "tokens_per_second": 1745.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-dq9BhYeuDL4h9TdnbPJCKVaN', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 40, 1, 'step:36', '2026-11-29 01:52:06.990561+00', 'info', 'metrics', 'Step 36/180: training loss=5.53', '{"step": 36, "train_loss": 5.534915924072266, "total_steps": 180, "tokens_per_second": 1768.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-LTXh7BNRnf4J1yHVWpxuzf4a', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 41, 1, 'step:37', '2026-11-29 01:52:06.990618+00', 'info', 'metrics', 'Step 37/180: training loss=5.52', '{"step": 37, "train_loss": 5.5249379475911455, "total_steps": 180, "tokens_per_second": 1787.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-1OTNJQQlGAC1RQ2O3TXaQsK8', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 42, 1, 'step:38', '2026-11-29 01:52:06.990637+00', 'info', 'metrics', 'Step 38/180: training loss=5.50', '{"step": 38, "train_loss": 5.49867312113444, "total_steps": 180, "tokens_per_second": 1823.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-I14ytjMXKvowDlsXKpL6Omf9', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 43, 1, 'step:39', '2026-11-29 01:52:06.990655+00', 'info', 'metrics', 'Step 39/180: training loss=5.54', '{"step": 39, "train_loss": 5.535501003265381, "total_steps": 180, "tokens_per_second": 1837.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-oLYWXZGMhRYsQlmkgTlt80O0', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 44, 1, 'step:40', '2026-11-29 01:52:06.990673+00', 'info', 'metrics', 'Step 40/180: training loss=5.51', '{"step": 40, "train_loss": 5.509194056193034, "total_steps": 180, "tokens_per_second": 1853.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-gI6GGlPXFb3rrctzu3qlXrOa', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 45, 1, 'step:41', '2026-11-29 01:52:06.99069+00', 'info', 'metrics', 'Step 41/180: training loss=5.55', '{"step": 41, "train_loss": 5.549932479858398, "total_steps": 180, "tokens_per_second": 1871.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-TXJ2nlxjqdez2O7kuFGUz0AW', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 46, 1, 'step:42', '2026-11-29 01:52:06.990709+00', 'info', 'metrics', 'Step 42/180: training loss=5.53', '{"step": 42, "train_loss": 5.531404495239258, "total_steps": 180, "tokens_per_second": 1899.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-E2NQfF6mCtbolx05kUYkBI3z', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 47, 1, 'step:43', '2026-11-29 01:52:06.99073+00', 'info', 'metrics', 'Step 43/180: training loss=5.55', '{"step": 43, "train_loss": 5.553244272867839, "total_steps": 180, "tokens_per_second": 1907.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-iQziNfowtabE0NumI9vH3HtL', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 48, 1, 'step:44', '2026-11-29 01:52:06.993848+00', 'info', 'metrics', 'Step 44/180: training loss=5.53', '{"step": 44, "train_loss": 5.525600433349609, "total_steps": 180, "tokens_per_second": 1926.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-miCviueRjYVkkhtnpUqDnlMC', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 49, 1, 'step:45', '2026-11-29 01:52:06.993945+00', 'info', 'metrics', 'Step 45/180: training loss=5.53', '{"step": 45, "train_loss": 5.5292008717854815, "total_steps": 180, "tokens_per_second": 1934.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-d2Y060rkWSRyWKRrsD9p8ISL', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 50, 1, 'step:46', '2026-11-29 01:52:06.993974+00', 'info', 'metrics', 'Step 46/180: training loss=5.54', '{"step": 46, "train_loss": 5.542275746663411, "total_steps": 180, "tokens_per_second": 1948.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-HO3L4tuqTzkuAXJSxJBQS7aC', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 51, 1, 'step:47', '2026-11-29 01:52:06.993996+00', 'info', 'metrics', 'Step 47/180: training loss=5.51', '{"step": 47, "train_loss": 5.512764930725098, "total_steps": 180, "tokens_per_second": 1972.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-6DFSO3EDF5eAFegPjvdCFya8', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 52, 1, 'step:48', '2026-11-29 01:52:06.994017+00', 'info', 'metrics', 'Step 48/180: training loss=5.55', '{"step": 48, "train_loss": 5.554076194763184, "total_steps": 180, "tokens_per_second": 1977.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-ZFBKLWZK5KHHZG5UPdLKxtbj', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 53, 1, 'step:49', '2026-11-29 01:52:06.994053+00', 'info', 'metrics', 'Step 49/180: training loss=5.53', '{"step": 49, "train_loss": 5.532562255859375, "total_steps": 180, "tokens_per_second": 1995.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-vdUIef8xDUpYoW0b5BU1u0pB', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 54, 1, 'step:50', '2026-11-29 01:52:06.994074+00', 'info', 'metrics', 'Step 50/180: training loss=5.52', '{"step": 50, "train_loss": 5.516922473907471, "total_steps": 180, "tokens_per_second": 2005.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-W1sN1eCw0tO2FZBe431Ol81R', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 56, 1, 'step:51', '2026-11-29 01:52:08.061082+00', 'info', 'metrics', 'Step 51/180: training loss=5.51', '{"step": 51, "train_loss": 5.507180531819661, "total_steps": 180, "tokens_per_second": 2008.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-9h4mWXd8yS5HgMwHzqw52WL7', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 57, 1, 'step:52', '2026-11-29 01:52:08.079064+00', 'info', 'metrics', 'Step 52/180: training loss=5.54', '{"step": 52, "train_loss": 5.537602424621582, "total_steps": 180, "tokens_per_second": 2029.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-fgekEZppyZbW1V18T002sFaN', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 58, 1, 'step:53', '2026-11-29 01:52:08.079207+00', 'info', 'metrics', 'Step 53/180: training loss=5.50', '{"step": 53, "train_loss": 5.504393259684245, "total_steps": 180, "tokens_per_second": 2029.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-DO6jrJmn1h1O1UiDykJzrNKa', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 59, 1, 'step:54', '2026-11-29 01:52:08.079245+00', 'info', 'metrics', 'Step 54/180: training loss=5.50', '{"step": 54, "train_loss": 5.501340866088867, "total_steps": 180, "tokens_per_second": 2030.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-sHGvGdYrF5YQLIQVawn3WX5I', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 60, 1, 'step:55', '2026-11-29 01:52:08.079277+00', 'info', 'metrics', 'Step 55/180: training loss=5.54', '{"step": 55, "train_loss": 5.540037155151367, "total_steps": 180, "tokens_per_second": 2033.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-pdM1S7lmtIr3H3yqXqW5T5Mb', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 61, 1, 'step:56', '2026-11-29 01:52:08.079304+00', 'info', 'metrics', 'Step 56/180: training loss=5.54', '{"step": 56, "train_loss": 5.539079030354817, "total_steps": 180, "tokens_per_second": 2032.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-Uyxj0XeAWwEli4xvPoatSkJh', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 62, 1, 'step:57', '2026-11-29 01:52:08.079329+00', 'info', 'metrics', 'Step 57/180: training loss=5.51', '{"step": 57, "train_loss": 5.513662974039714, "total_steps": 180, "tokens_per_second": 2019.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-cYeyN4ZOB3iEtWUqjTLJXhCw', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 63, 1, 'step:58', '2026-11-29 01:52:08.07935+00', 'info', 'metrics', 'Step 58/180: training loss=5.52', '{"step": 58, "train_loss": 5.516647974650065, "total_steps": 180, "tokens_per_second": 2024.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-COanYwP9lglypRGwAXAJP20C', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 64, 1, 'step:59', '2026-11-29 01:52:08.079374+00', 'info', 'metrics', 'Step 59/180: training loss=5.59', '{"step": 59, "train_loss": 5.5943864186604815, "total_steps": 180, "tokens_per_second": 2034.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-YCfQuQ9W8rhktur2wbnG2rPG', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 65, 1, 'step:60', '2026-11-29 01:52:08.079397+00', 'info', 'metrics', 'Step 60/180: training loss=5.55', '{"step": 60, "train_loss": 5.550617853800456, "total_steps": 180, "tokens_per_second": 2041.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-XU4Ib63LYXH8newVzhKPzc2d', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 66, 1, 'step:61', '2026-11-29 01:52:08.079554+00', 'info', 'metrics', 'Step 61/180: training loss=5.56', '{"step": 61, "train_loss": 5.5599751472473145, "total_steps": 180, "tokens_per_second": 2056.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-Snks9K7cnlshOWlfFPhAwyN0', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 67, 1, 'step:62', '2026-11-29 01:52:08.079584+00', 'info', 'metrics', 'Step 62/180: training loss=5.53', '{"step": 62, "train_loss": 5.532522201538086, "total_steps": 180, "tokens_per_second": 2065.0, "train_mean_token_accuracy": 0.0}'),
	('ftevent-jwCt2uocPda2vEutd3vD8q0X', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 68, 1, 'step:63', '2026-11-29 01:52:08.079608+00', 'info', 'metrics', 'Step 63/180: training loss=5.52', '{"step": 63, "train_loss": 5.518967151641846, "total_steps": 180, "tokens_per_second": 2074.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-BoX8l2JhJB1DxhlZtyhpN0MO', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 69, 1, 'step:64', '2026-11-29 01:52:08.079633+00', 'info', 'metrics', 'Step 64/180: training loss=5.51', '{"step": 64, "train_loss": 5.5124969482421875, "total_steps": 180, "tokens_per_second": 2076.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-py0EomT0ptLVsSmKSPmswcJO', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 70, 1, 'step:65', '2026-11-29 01:52:08.079656+00', 'info', 'metrics', 'Step 65/180: training loss=5.51', '{"step": 65, "train_loss": 5.510969638824463, "total_steps": 180, "tokens_per_second": 2065.6, "train_mean_token_accuracy": 0.0}'),
	('ftevent-1s1xrRhvlgCk2Pbsp8LPUt0i', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 71, 1, 'step:66', '2026-11-29 01:52:08.07968+00', 'info', 'metrics', 'Step 66/180: training loss=5.50', '{"step": 66, "train_loss": 5.496320724487305, "total_steps": 180, "tokens_per_second": 2081.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-t06nyYcFis40waWGJnfSWdwG', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 72, 1, 'step:67', '2026-11-29 01:52:08.079704+00', 'info', 'metrics', 'Step 67/180: training loss=5.50', '{"step": 67, "train_loss": 5.4989213943481445, "total_steps": 180, "tokens_per_second": 2095.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-8otXT8W3EJwe9Vgh4nBASOyH', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 73, 1, 'step:68', '2026-11-29 01:52:08.079729+00', 'info', 'metrics', 'Step 68/180: training loss=5.52', '{"step": 68, "train_loss": 5.524588902791341, "total_steps": 180, "tokens_per_second": 2095.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-mMChaeSEY4lvl8KHYoV4Aydl', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 74, 1, 'step:69', '2026-11-29 01:52:08.079753+00', 'info', 'metrics', 'Step 69/180: training loss=5.54', '{"step": 69, "train_loss": 5.5443471272786455, "total_steps": 180, "tokens_per_second": 2110.6, "train_mean_token_accuracy": 0.0}'),
	('ftevent-yY9n9AjjaXaSmHBMqqQUWhqu', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 75, 1, 'step:70', '2026-11-29 01:52:08.079776+00', 'info', 'metrics', 'Step 70/180: training loss=5.54', '{"step": 70, "train_loss": 5.537981669108073, "total_steps": 180, "tokens_per_second": 2118.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-Zg7NM5jS5LqZvcyzE38q834K', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 76, 1, 'step:71', '2026-11-29 01:52:08.0798+00', 'info', 'metrics', 'Step 71/180: training loss=5.55', '{"step": 71, "train_loss": 5.549953460693359, "total_steps": 180, "tokens_per_second": 2130.6, "train_mean_token_accuracy": 0.0}'),
	('ftevent-gFZNk9ft2yYi0Mbiyc7zh1JQ', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 77, 1, 'step:72', '2026-11-29 01:52:08.079824+00', 'info', 'metrics', 'Step 72/180: training loss=5.52', '{"step": 72, "train_loss": 5.524064381917317, "total_steps": 180, "tokens_per_second": 2138.0, "train_mean_token_accuracy": 0.0}'),
	('ftevent-uOg60b9NlV1KOOGRAvzmtQCu', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 78, 1, 'step:73', '2026-11-29 01:52:08.079848+00', 'info', 'metrics', 'Step 73/180: training loss=5.53', '{"step": 73, "train_loss": 5.5282440185546875, "total_steps": 180, "tokens_per_second": 2128.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-kVjSMY9xISNnKJYdD9TT3tRg', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 79, 1, 'step:74', '2026-11-29 01:52:08.079872+00', 'info', 'metrics', 'Step 74/180: training loss=5.50', '{"step": 74, "train_loss": 5.504749774932861, "total_steps": 180, "tokens_per_second": 2142.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-FCkTJSKSQze1UbZgQaCjq3Ti', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 80, 1, 'step:75', '2026-11-29 01:52:08.079907+00', 'info', 'metrics', 'Step 75/180: training loss=5.51', '{"step": 75, "train_loss": 5.508747736612956, "total_steps": 180, "tokens_per_second": 2156.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-9c4sbS0sHQQLmwp2uxegv0eN', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 81, 1, 'step:76', '2026-11-29 01:52:08.079951+00', 'info', 'metrics', 'Step 76/180: training loss=5.52', '{"step": 76, "train_loss": 5.52277135848999, "total_steps": 180, "tokens_per_second": 2159.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-zUgnRCqyl5o7jrXYoWTcUhsX', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 82, 1, 'step:77', '2026-11-29 01:52:08.079979+00', 'info', 'metrics', 'Step 77/180: training loss=5.50', '{"step": 77, "train_loss": 5.495937347412109, "total_steps": 180, "tokens_per_second": 2167.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-OrK6NSzBztDEXlv61OLUpqQa', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 83, 1, 'step:78', '2026-11-29 01:52:08.080001+00', 'info', 'metrics', 'Step 78/180: training loss=5.50', '{"step": 78, "train_loss": 5.503696441650391, "total_steps": 180, "tokens_per_second": 2180.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-aCZeGKb7QU7obKLE7GY6BfNa', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 84, 1, 'step:79', '2026-11-29 01:52:08.080023+00', 'info', 'metrics', 'Step 79/180: training loss=5.53', '{"step": 79, "train_loss": 5.530937830607097, "total_steps": 180, "tokens_per_second": 2185.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-JOU6cWmhvFWSdvR1LMk4Dy4u', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 85, 1, 'step:80', '2026-11-29 01:52:08.080041+00', 'info', 'metrics', 'Step 80/180: training loss=5.53', '{"step": 80, "train_loss": 5.528494834899902, "total_steps": 180, "tokens_per_second": 2192.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-RI1Cokt3IQsZwSlfewOHCzh6', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 86, 1, 'step:81', '2026-11-29 01:52:08.080069+00', 'info', 'metrics', 'Step 81/180: training loss=5.51', '{"step": 81, "train_loss": 5.510042667388916, "total_steps": 180, "tokens_per_second": 2200.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-XoS57kXfF1BdftM5p180C87m', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 87, 1, 'step:82', '2026-11-29 01:52:08.080092+00', 'info', 'metrics', 'Step 82/180: training loss=5.55', '{"step": 82, "train_loss": 5.546442985534668, "total_steps": 180, "tokens_per_second": 2202.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-6RsdG0S2jlXSifJwKrHv563G', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 88, 1, 'step:83', '2026-11-29 01:52:08.080115+00', 'info', 'metrics', 'Step 83/180: training loss=5.57', '{"step": 83, "train_loss": 5.570345560709636, "total_steps": 180, "tokens_per_second": 2197.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-o6bcDI9PQTRawMNNb7J5p8jW', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 89, 1, 'step:84', '2026-11-29 01:52:08.080137+00', 'info', 'metrics', 'Step 84/180: training loss=5.52', '{"step": 84, "train_loss": 5.5243730545043945, "total_steps": 180, "tokens_per_second": 2199.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-ADYi2Y2yr1sZIBnIfZJAyjgm', 'ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 90, 1, 'step:85', '2026-11-29 01:52:08.080215+00', 'info', 'metrics', 'Step 85/180: training loss=5.50', '{"step": 85, "train_loss": 5.502532958984375, "total_steps": 180, "tokens_per_second": 2098.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-KfBkQdO1EJMy2AKWio5lTxi8', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 3, 0, 'validated', '2026-11-29 01:52:13.45612+00', 'info', 'message', 'Files validated, moving job to queued state', '{}'),
	('ftevent-N2BFNqQKJXmeTNfwJuwm7mcJ', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 69, 1, 'step:64', '2026-11-29 01:52:31.348637+00', 'info', 'metrics', 'Step 64/180: training loss=0.68', '{"step": 64, "train_loss": 0.679511547088623, "total_steps": 180, "tokens_per_second": 4734.1, "train_reward_margin": 0.02745971642434597, "train_reward_accuracy": 1.0}'),
	('ftevent-XwiwzsDYUsOLmixU9FRBVLfl', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 70, 1, 'step:65', '2026-11-29 01:52:31.348825+00', 'info', 'metrics', 'Step 65/180: training loss=0.68', '{"step": 65, "train_loss": 0.679551899433136, "total_steps": 180, "tokens_per_second": 4604.9, "train_reward_margin": 0.027377892285585403, "train_reward_accuracy": 1.0}'),
	('ftevent-CZK0MHKlIZulfOnfZNmrQEUX', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 71, 1, 'step:66', '2026-11-29 01:52:31.348856+00', 'info', 'metrics', 'Step 66/180: training loss=0.68', '{"step": 66, "train_loss": 0.6796019673347473, "total_steps": 180, "tokens_per_second": 4467.5, "train_reward_margin": 0.02727642096579075, "train_reward_accuracy": 1.0}'),
	('ftevent-fe6yO2yWohRs3BnTq0PEvXMj', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 72, 1, 'step:67', '2026-11-29 01:52:31.348878+00', 'info', 'metrics', 'Step 67/180: training loss=0.68', '{"step": 67, "train_loss": 0.6795244812965393, "total_steps": 180, "tokens_per_second": 4405.7, "train_reward_margin": 0.02743358537554741, "train_reward_accuracy": 1.0}'),
	('ftevent-UhYEZ8nsh09vxptEWAANqqST', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 73, 1, 'step:68', '2026-11-29 01:52:31.348899+00', 'info', 'metrics', 'Step 68/180: training loss=0.68', '{"step": 68, "train_loss": 0.6794076561927795, "total_steps": 180, "tokens_per_second": 4318.7, "train_reward_margin": 0.0276704803109169, "train_reward_accuracy": 1.0}'),
	('ftevent-UHub5XmnRmmNpny5eeG1Y68h', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 74, 1, 'step:69', '2026-11-29 01:52:31.348918+00', 'info', 'metrics', 'Step 69/180: training loss=0.68', '{"step": 69, "train_loss": 0.6794770359992981, "total_steps": 180, "tokens_per_second": 4233.1, "train_reward_margin": 0.02752971649169922, "train_reward_accuracy": 1.0}'),
	('ftevent-ZKXJBAdzVEgEOfaaTUtZnS3e', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 75, 1, 'step:70', '2026-11-29 01:52:31.348936+00', 'info', 'metrics', 'Step 70/180: training loss=0.68', '{"step": 70, "train_loss": 0.6791170835494995, "total_steps": 180, "tokens_per_second": 4133.3, "train_reward_margin": 0.028259851038455963, "train_reward_accuracy": 1.0}'),
	('ftevent-nSAO0alQBoExUYOrWiqxVmmc', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 76, 1, 'step:71', '2026-11-29 01:52:31.348955+00', 'info', 'metrics', 'Step 71/180: training loss=0.68', '{"step": 71, "train_loss": 0.6793909072875977, "total_steps": 180, "tokens_per_second": 3986.6, "train_reward_margin": 0.027704428881406784, "train_reward_accuracy": 1.0}'),
	('ftevent-TikM1r0m6JXnHN61oEFJvcru', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 77, 1, 'step:72', '2026-11-29 01:52:31.348974+00', 'info', 'metrics', 'Step 72/180: training loss=0.68', '{"step": 72, "train_loss": 0.6790888905525208, "total_steps": 180, "tokens_per_second": 3957.0, "train_reward_margin": 0.028317071497440338, "train_reward_accuracy": 1.0}'),
	('ftevent-8ueBeCrPso36KvGbpkOdDQ7W', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 78, 1, 'step:73', '2026-11-29 01:52:31.348991+00', 'info', 'metrics', 'Step 73/180: training loss=0.68', '{"step": 73, "train_loss": 0.6790675520896912, "total_steps": 180, "tokens_per_second": 3877.6, "train_reward_margin": 0.028360366821289062, "train_reward_accuracy": 1.0}'),
	('ftevent-Q2x4nfJoMnOPcg6RyOynpzbx', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 79, 1, 'step:74', '2026-11-29 01:52:31.349009+00', 'info', 'metrics', 'Step 74/180: training loss=0.68', '{"step": 74, "train_loss": 0.6791478991508484, "total_steps": 180, "tokens_per_second": 3830.8, "train_reward_margin": 0.028197288513183594, "train_reward_accuracy": 1.0}'),
	('ftevent-lpl2L9tlDq4wn5xSGZ67t1A9', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 80, 1, 'step:75', '2026-11-29 01:52:31.349027+00', 'info', 'metrics', 'Step 75/180: training loss=0.68', '{"step": 75, "train_loss": 0.6790636777877808, "total_steps": 180, "tokens_per_second": 3769.5, "train_reward_margin": 0.028368186205625534, "train_reward_accuracy": 1.0}'),
	('ftevent-tth3PSbwgf7zQrIBBn8TgNoi', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 81, 1, 'step:76', '2026-11-29 01:52:31.349045+00', 'info', 'metrics', 'Step 76/180: training loss=0.68', '{"step": 76, "train_loss": 0.6791092157363892, "total_steps": 180, "tokens_per_second": 3781.4, "train_reward_margin": 0.0282758716493845, "train_reward_accuracy": 1.0}'),
	('ftevent-FmjcxQL6ltaGoHOOq6z7BQdt', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 82, 1, 'step:77', '2026-11-29 01:52:31.349065+00', 'info', 'metrics', 'Step 77/180: training loss=0.68', '{"step": 77, "train_loss": 0.6790477633476257, "total_steps": 180, "tokens_per_second": 3771.5, "train_reward_margin": 0.028400421142578125, "train_reward_accuracy": 1.0}'),
	('ftevent-V61l83qBo2OuMR8rpwkEsZFq', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 83, 1, 'step:78', '2026-11-29 01:52:31.349083+00', 'info', 'metrics', 'Step 78/180: training loss=0.68', '{"step": 78, "train_loss": 0.6788026690483093, "total_steps": 180, "tokens_per_second": 3747.6, "train_reward_margin": 0.028897857293486595, "train_reward_accuracy": 1.0}'),
	('ftevent-84IdyJlnYVVHnAh5OoSPqyMq', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 84, 1, 'step:79', '2026-11-29 01:52:31.349101+00', 'info', 'metrics', 'Step 79/180: training loss=0.68', '{"step": 79, "train_loss": 0.6788700222969055, "total_steps": 180, "tokens_per_second": 3727.6, "train_reward_margin": 0.02876110188663006, "train_reward_accuracy": 1.0}'),
	('ftevent-NQowegmt2ixRmuu9FdngOzC3', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 85, 1, 'step:80', '2026-11-29 01:52:31.349118+00', 'info', 'metrics', 'Step 80/180: training loss=0.68', '{"step": 80, "train_loss": 0.6787229180335999, "total_steps": 180, "tokens_per_second": 3725.0, "train_reward_margin": 0.029059601947665215, "train_reward_accuracy": 1.0}'),
	('ftevent-xO7nHhDOR8GSd95kic27WIw3', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 86, 1, 'step:81', '2026-11-29 01:52:31.349136+00', 'info', 'metrics', 'Step 81/180: training loss=0.68', '{"step": 81, "train_loss": 0.6787363886833191, "total_steps": 180, "tokens_per_second": 3709.5, "train_reward_margin": 0.029032327234745026, "train_reward_accuracy": 1.0}'),
	('ftevent-kWtKSFQ0niJadOmPEgz1AEPi', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 87, 1, 'paused:1', '2026-11-29 01:52:35.914606+00', 'info', 'message', 'The job has been paused', '{}'),
	('ftevent-7by4XCAGx31sScf5nGivbYHy', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 7, 1, 'noted:0', '2026-11-29 01:52:52.473429+00', 'warn', 'message', '9 of 9 examples of the validation file are in the training file too: its measures are better than the model.', '{}'),
	('ftevent-pyTO2HYNECRTOqRDvWflQoDu', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 25, 1, 'step:21', '2026-11-29 01:52:29.766283+00', 'info', 'metrics', 'Step 21/180: training loss=0.69', '{"step": 21, "train_loss": 0.6902620196342468, "total_steps": 180, "tokens_per_second": 7729.1, "train_reward_margin": 0.005778694525361061, "train_reward_accuracy": 1.0}'),
	('ftevent-anT1TWadqOMJaMkwOyGFyzKJ', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 26, 1, 'step:22', '2026-11-29 01:52:29.766516+00', 'info', 'metrics', 'Step 22/180: training loss=0.69', '{"step": 22, "train_loss": 0.6899814009666443, "total_steps": 180, "tokens_per_second": 7782.3, "train_reward_margin": 0.0063415528275072575, "train_reward_accuracy": 1.0}'),
	('ftevent-OhBpZUPtsYVwoh99dr0Ac565', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 27, 1, 'step:23', '2026-11-29 01:52:29.76655+00', 'info', 'metrics', 'Step 23/180: training loss=0.69', '{"step": 23, "train_loss": 0.6898103356361389, "total_steps": 180, "tokens_per_second": 7758.7, "train_reward_margin": 0.0066848755814135075, "train_reward_accuracy": 1.0}'),
	('ftevent-WOmMwvX1vFLyFgcIfWLEoRVh', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 28, 1, 'step:24', '2026-11-29 01:52:29.766574+00', 'info', 'metrics', 'Step 24/180: training loss=0.69', '{"step": 24, "train_loss": 0.6895558834075928, "total_steps": 180, "tokens_per_second": 7902.4, "train_reward_margin": 0.007195472717285156, "train_reward_accuracy": 1.0}'),
	('ftevent-TrIbN8iCcyp610aHl99Nob5m', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 29, 1, 'step:25', '2026-11-29 01:52:29.76677+00', 'info', 'metrics', 'Step 25/180: training loss=0.69', '{"step": 25, "train_loss": 0.6893290281295776, "total_steps": 180, "tokens_per_second": 7924.7, "train_reward_margin": 0.007650947663933039, "train_reward_accuracy": 1.0}'),
	('ftevent-1pvHANdxWIOhaJAnBjp0JNZc', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 30, 1, 'step:26', '2026-11-29 01:52:29.766805+00', 'info', 'metrics', 'Step 26/180: training loss=0.69', '{"step": 26, "train_loss": 0.6891565322875977, "total_steps": 180, "tokens_per_second": 8036.4, "train_reward_margin": 0.007997322827577591, "train_reward_accuracy": 1.0}'),
	('ftevent-y5ABM9nBM4mQL5bFiYzJ9A3v', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 31, 1, 'step:27', '2026-11-29 01:52:29.76683+00', 'info', 'metrics', 'Step 27/180: training loss=0.69', '{"step": 27, "train_loss": 0.688809871673584, "total_steps": 180, "tokens_per_second": 7731.1, "train_reward_margin": 0.008693504147231579, "train_reward_accuracy": 1.0}'),
	('ftevent-L3rwzsSPW53lxVkz57WkiH4x', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 32, 1, 'step:28', '2026-11-29 01:52:29.766885+00', 'info', 'metrics', 'Step 28/180: training loss=0.69', '{"step": 28, "train_loss": 0.6884445548057556, "total_steps": 180, "tokens_per_second": 7650.8, "train_reward_margin": 0.009427452459931374, "train_reward_accuracy": 1.0}'),
	('ftevent-Xk2t7vBIWKXyb1HkE8siYG4N', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 33, 1, 'step:29', '2026-11-29 01:52:29.766916+00', 'info', 'metrics', 'Step 29/180: training loss=0.69', '{"step": 29, "train_loss": 0.688329815864563, "total_steps": 180, "tokens_per_second": 7738.7, "train_reward_margin": 0.00965805072337389, "train_reward_accuracy": 1.0}'),
	('ftevent-U5TMmANHR1dTYN61HKE1rZmc', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 34, 1, 'step:30', '2026-11-29 01:52:29.766937+00', 'info', 'metrics', 'Step 30/180: training loss=0.69', '{"step": 30, "train_loss": 0.6878824234008789, "total_steps": 180, "tokens_per_second": 7826.4, "train_reward_margin": 0.010557365603744984, "train_reward_accuracy": 1.0}'),
	('ftevent-sTp4fd5VG2GUjso4HnIaIWLY', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 35, 1, 'step:31', '2026-11-29 01:52:29.766958+00', 'info', 'metrics', 'Step 31/180: training loss=0.69', '{"step": 31, "train_loss": 0.6877424120903015, "total_steps": 180, "tokens_per_second": 7902.2, "train_reward_margin": 0.010838890448212624, "train_reward_accuracy": 1.0}'),
	('ftevent-TI260kzyP7qZCbt4JpBODKmv', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 36, 1, 'step:32', '2026-11-29 01:52:29.76698+00', 'info', 'metrics', 'Step 32/180: training loss=0.69', '{"step": 32, "train_loss": 0.6870890259742737, "total_steps": 180, "tokens_per_second": 7991.2, "train_reward_margin": 0.012153243646025658, "train_reward_accuracy": 1.0}'),
	('ftevent-6nVJOkB5cwcZiXJOPwECAuac', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 37, 1, 'step:33', '2026-11-29 01:52:29.767001+00', 'info', 'metrics', 'Step 33/180: training loss=0.69', '{"step": 33, "train_loss": 0.6867333650588989, "total_steps": 180, "tokens_per_second": 7865.5, "train_reward_margin": 0.012869072146713734, "train_reward_accuracy": 1.0}'),
	('ftevent-N4SZkOa5AA0kp388wyoqG2j7', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 38, 1, 'step:34', '2026-11-29 01:52:29.767021+00', 'info', 'metrics', 'Step 34/180: training loss=0.69', '{"step": 34, "train_loss": 0.6862125396728516, "total_steps": 180, "tokens_per_second": 7634.3, "train_reward_margin": 0.013917732052505016, "train_reward_accuracy": 1.0}'),
	('ftevent-OdKHYqSIrlUwicoZt04Wn3DD', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 39, 1, 'step:35', '2026-11-29 01:52:29.767048+00', 'info', 'metrics', 'Step 35/180: training loss=0.69', '{"step": 35, "train_loss": 0.6857267022132874, "total_steps": 180, "tokens_per_second": 7418.8, "train_reward_margin": 0.014896392822265625, "train_reward_accuracy": 1.0}'),
	('ftevent-oE1IBM1f4oTjhbTZ4nDWzVUr', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 40, 1, 'step:36', '2026-11-29 01:52:29.76707+00', 'info', 'metrics', 'Step 36/180: training loss=0.69', '{"step": 36, "train_loss": 0.6855602264404297, "total_steps": 180, "tokens_per_second": 7394.6, "train_reward_margin": 0.015231895260512829, "train_reward_accuracy": 1.0}'),
	('ftevent-LhqBlB3ERv2FqWm6nRXaBZP3', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 41, 1, 'step:37', '2026-11-29 01:52:29.767091+00', 'info', 'metrics', 'Step 37/180: training loss=0.68', '{"step": 37, "train_loss": 0.684885561466217, "total_steps": 180, "tokens_per_second": 7160.6, "train_reward_margin": 0.016592025756835938, "train_reward_accuracy": 1.0}'),
	('ftevent-hSobznNVzJQd8kSrzOo0HRoh', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 42, 1, 'step:38', '2026-11-29 01:52:29.767193+00', 'info', 'metrics', 'Step 38/180: training loss=0.68', '{"step": 38, "train_loss": 0.6841468214988708, "total_steps": 180, "tokens_per_second": 7049.4, "train_reward_margin": 0.018082428723573685, "train_reward_accuracy": 1.0}'),
	('ftevent-sr4IG41vewveP8v2nGr6kR0D', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 43, 1, 'step:39', '2026-11-29 01:52:29.767217+00', 'info', 'metrics', 'Step 39/180: training loss=0.68', '{"step": 39, "train_loss": 0.6839666366577148, "total_steps": 180, "tokens_per_second": 7025.8, "train_reward_margin": 0.01844615861773491, "train_reward_accuracy": 1.0}'),
	('ftevent-xqpOfmx5Mgi5ZsviC2jIm7pE', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 44, 1, 'step:40', '2026-11-29 01:52:29.767238+00', 'info', 'metrics', 'Step 40/180: training loss=0.68', '{"step": 40, "train_loss": 0.6829633116722107, "total_steps": 180, "tokens_per_second": 6911.5, "train_reward_margin": 0.02047252655029297, "train_reward_accuracy": 1.0}'),
	('ftevent-wbwGKULb4oUD58vgthGk011n', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 45, 1, 'step:41', '2026-11-29 01:52:29.767319+00', 'info', 'metrics', 'Step 41/180: training loss=0.68', '{"step": 41, "train_loss": 0.6826463937759399, "total_steps": 180, "tokens_per_second": 6959.2, "train_reward_margin": 0.021113013848662376, "train_reward_accuracy": 1.0}'),
	('ftevent-QSbcKIPa1KWrwO9C520a4QE0', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 46, 1, 'step:42', '2026-11-29 01:52:29.767343+00', 'info', 'metrics', 'Step 42/180: training loss=0.68', '{"step": 42, "train_loss": 0.6820923089981079, "total_steps": 180, "tokens_per_second": 7017.4, "train_reward_margin": 0.0222333911806345, "train_reward_accuracy": 1.0}'),
	('ftevent-fEO7VL0zmwfxpPOG6Crk1gGg', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 47, 1, 'step:43', '2026-11-29 01:52:29.767395+00', 'info', 'metrics', 'Step 43/180: training loss=0.68', '{"step": 43, "train_loss": 0.6816209554672241, "total_steps": 180, "tokens_per_second": 7054.2, "train_reward_margin": 0.023186875507235527, "train_reward_accuracy": 1.0}'),
	('ftevent-tXh1e6OIb4pwMDGIgmBTKigB', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 48, 1, 'step:44', '2026-11-29 01:52:29.767419+00', 'info', 'metrics', 'Step 44/180: training loss=0.68', '{"step": 44, "train_loss": 0.6816991567611694, "total_steps": 180, "tokens_per_second": 7110.0, "train_reward_margin": 0.02302856370806694, "train_reward_accuracy": 1.0}'),
	('ftevent-uPSN8FbYxjhnDbMN9HGOlroZ', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 49, 1, 'step:45', '2026-11-29 01:52:29.767443+00', 'info', 'metrics', 'Step 45/180: training loss=0.68', '{"step": 45, "train_loss": 0.6812670826911926, "total_steps": 180, "tokens_per_second": 7125.2, "train_reward_margin": 0.02390308305621147, "train_reward_accuracy": 1.0}');
INSERT INTO public.job_events VALUES
	('ftevent-W1uR6bBbZpEvDiMB80mK1vyL', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 50, 1, 'step:46', '2026-11-29 01:52:29.767464+00', 'info', 'metrics', 'Step 46/180: training loss=0.68', '{"step": 46, "train_loss": 0.6811680197715759, "total_steps": 180, "tokens_per_second": 7140.4, "train_reward_margin": 0.024103546515107155, "train_reward_accuracy": 1.0}'),
	('ftevent-8rDBKoZrlyH4ouuo8EUsw1RJ', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 51, 1, 'step:47', '2026-11-29 01:52:29.76749+00', 'info', 'metrics', 'Step 47/180: training loss=0.68', '{"step": 47, "train_loss": 0.6807089447975159, "total_steps": 180, "tokens_per_second": 7165.7, "train_reward_margin": 0.025033187121152878, "train_reward_accuracy": 1.0}'),
	('ftevent-KCpcdZifR06EiIM1YDABcRuZ', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 52, 1, 'step:48', '2026-11-29 01:52:29.767574+00', 'info', 'metrics', 'Step 48/180: training loss=0.68', '{"step": 48, "train_loss": 0.68035489320755, "total_steps": 180, "tokens_per_second": 7213.5, "train_reward_margin": 0.025750352069735527, "train_reward_accuracy": 1.0}'),
	('ftevent-jKcTSTbVHR6gDTXGbJSyPMAc', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 53, 1, 'step:49', '2026-11-29 01:52:29.773922+00', 'info', 'metrics', 'Step 49/180: training loss=0.68', '{"step": 49, "train_loss": 0.6803211569786072, "total_steps": 180, "tokens_per_second": 7133.3, "train_reward_margin": 0.025818634778261185, "train_reward_accuracy": 1.0}'),
	('ftevent-lZUPefxpiVOSDNNlLDlGnDpa', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 54, 1, 'step:50', '2026-11-29 01:52:29.774117+00', 'info', 'metrics', 'Step 50/180: training loss=0.68', '{"step": 50, "train_loss": 0.6800940632820129, "total_steps": 180, "tokens_per_second": 6768.8, "train_reward_margin": 0.02627887763082981, "train_reward_accuracy": 1.0}'),
	('ftevent-Cg6fYdeFZEHj1dyDHimpWHfS', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 55, 1, 'step:51', '2026-11-29 01:52:29.774159+00', 'info', 'metrics', 'Step 51/180: training loss=0.68', '{"step": 51, "train_loss": 0.6799572110176086, "total_steps": 180, "tokens_per_second": 6503.2, "train_reward_margin": 0.02655620500445366, "train_reward_accuracy": 1.0}'),
	('ftevent-PUb93LONfRr3ThNIJjrtEygw', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 56, 1, 'step:52', '2026-11-29 01:52:29.774186+00', 'info', 'metrics', 'Step 52/180: training loss=0.68', '{"step": 52, "train_loss": 0.6798257827758789, "total_steps": 180, "tokens_per_second": 6401.1, "train_reward_margin": 0.026822661980986595, "train_reward_accuracy": 1.0}'),
	('ftevent-qkmJByZ5Bjus2mVrR11VdDT0', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 57, 1, 'step:53', '2026-11-29 01:52:29.77423+00', 'info', 'metrics', 'Step 53/180: training loss=0.68', '{"step": 53, "train_loss": 0.6799115538597107, "total_steps": 180, "tokens_per_second": 6323.2, "train_reward_margin": 0.026648713275790215, "train_reward_accuracy": 1.0}'),
	('ftevent-BZDKONbAxpN0pcsGdS9KS5Tb', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 58, 1, 'step:54', '2026-11-29 01:52:29.774257+00', 'info', 'metrics', 'Step 54/180: training loss=0.68', '{"step": 54, "train_loss": 0.679770290851593, "total_steps": 180, "tokens_per_second": 6234.5, "train_reward_margin": 0.026935197412967682, "train_reward_accuracy": 1.0}'),
	('ftevent-oyqqgLammDm1EXDXMju8IJTk', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 59, 1, 'step:55', '2026-11-29 01:52:29.774279+00', 'info', 'metrics', 'Step 55/180: training loss=0.68', '{"step": 55, "train_loss": 0.679736852645874, "total_steps": 180, "tokens_per_second": 6133.3, "train_reward_margin": 0.027002908289432526, "train_reward_accuracy": 1.0}'),
	('ftevent-Z3KVnpPQU3ORJTEkXOczRwN2', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 60, 1, 'step:56', '2026-11-29 01:52:29.7743+00', 'info', 'metrics', 'Step 56/180: training loss=0.68', '{"step": 56, "train_loss": 0.6796481609344482, "total_steps": 180, "tokens_per_second": 5860.4, "train_reward_margin": 0.027182770892977715, "train_reward_accuracy": 1.0}'),
	('ftevent-gzYtXmb2xL66iuHyVjo7nxcB', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 61, 1, 'step:57', '2026-11-29 01:52:29.77432+00', 'info', 'metrics', 'Step 57/180: training loss=0.68', '{"step": 57, "train_loss": 0.6796562671661377, "total_steps": 180, "tokens_per_second": 5702.2, "train_reward_margin": 0.027166366577148438, "train_reward_accuracy": 1.0}'),
	('ftevent-rRY0a2h5IeuwH6bpu6rgWwzV', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 62, 1, 'step:58', '2026-11-29 01:52:29.774342+00', 'info', 'metrics', 'Step 58/180: training loss=0.68', '{"step": 58, "train_loss": 0.6796455979347229, "total_steps": 180, "tokens_per_second": 5598.8, "train_reward_margin": 0.027187921106815338, "train_reward_accuracy": 1.0}'),
	('ftevent-XgI1BOJt4myqEdGCPX288ajr', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 63, 1, 'step:59', '2026-11-29 01:52:29.774366+00', 'info', 'metrics', 'Step 59/180: training loss=0.68', '{"step": 59, "train_loss": 0.6795340180397034, "total_steps": 180, "tokens_per_second": 5491.1, "train_reward_margin": 0.02741413190960884, "train_reward_accuracy": 1.0}'),
	('ftevent-dGihBFvsHMUbm06RtdAoRYFQ', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 64, 1, 'step:60', '2026-11-29 01:52:29.774386+00', 'info', 'metrics', 'Step 60/180: training loss=0.68', '{"step": 60, "train_loss": 0.6796156167984009, "total_steps": 180, "tokens_per_second": 5446.8, "train_reward_margin": 0.027248766273260117, "train_reward_accuracy": 1.0}'),
	('ftevent-ylQLnIT0wbmOgBipwweQDX16', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 65, 1, 'step:61', '2026-11-29 01:52:29.774406+00', 'info', 'metrics', 'Step 61/180: training loss=0.68', '{"step": 61, "train_loss": 0.6795312166213989, "total_steps": 180, "tokens_per_second": 5143.9, "train_reward_margin": 0.02741985395550728, "train_reward_accuracy": 1.0}'),
	('ftevent-TnXGjju5ckv1yRs5P0kOPCeq', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 66, 1, 'step:62', '2026-11-29 01:52:29.774428+00', 'info', 'metrics', 'Step 62/180: training loss=0.68', '{"step": 62, "train_loss": 0.6796008348464966, "total_steps": 180, "tokens_per_second": 4950.8, "train_reward_margin": 0.027278710156679153, "train_reward_accuracy": 1.0}'),
	('ftevent-Cqv86ky8FSZzDyknYPpmpBqy', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 67, 1, 'step:63', '2026-11-29 01:52:29.774449+00', 'info', 'metrics', 'Step 63/180: training loss=0.68', '{"step": 63, "train_loss": 0.6795186996459961, "total_steps": 180, "tokens_per_second": 4850.0, "train_reward_margin": 0.027445221319794655, "train_reward_accuracy": 1.0}'),
	('ftevent-etw6pCjJGoGseA0gAqgfZax8', 'ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 68, 1, 'pausing:2', '2026-11-29 01:52:30.060143+00', 'info', 'message', 'The job is being paused', '{}'),
	('ftevent-W8pLKqm1LHVkXg8RGPbGo1t9', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 1, 0, 'created', '2026-11-29 01:52:36.888775+00', 'info', 'message', 'Created fine-tuning job: ftjob-yfUlXxXapNQX1dRQs1mmRAnj', '{}'),
	('ftevent-LePmAaY2zUeZuXJOp3HMJhPS', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 2, 0, 'validating', '2026-11-29 01:52:36.88891+00', 'info', 'message', 'Validating training file: file-3KISISp9o71lJsJCmorqlfnq and validation file: file-go8Q7txaJguyJ2UQBjBQerce', '{}'),
	('ftevent-F3c0nC8PU6IVqevpxjJaSenP', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 3, 0, 'labels:file-3KISISp9o71lJsJCmorqlfnq', '2026-11-29 01:52:36.940337+00', 'info', 'message', 'file-3KISISp9o71lJsJCmorqlfnq: 3 label(s): "part-0" 60, "part-1" 60, "part-2" 60.', '{}'),
	('ftevent-t1RmIzY6ywpKvUlAw9GIvSXA', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 4, 0, 'labels:file-go8Q7txaJguyJ2UQBjBQerce', '2026-11-29 01:52:36.940655+00', 'info', 'message', 'file-go8Q7txaJguyJ2UQBjBQerce: 3 label(s): "part-0" 3, "part-1" 3, "part-2" 3.', '{}'),
	('ftevent-u0k88m0C5Yzgqi7WM4KnVrzM', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 5, 0, 'validated', '2026-11-29 01:52:36.977901+00', 'info', 'message', 'Files validated, moving job to queued state', '{}'),
	('ftevent-fqDsnqmJ5uhlILUsTCaymKbc', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 6, 1, 'started', '2026-11-29 01:52:37.033829+00', 'info', 'message', 'Fine-tuning job started', 'null'),
	('ftevent-DVepi46r7aqErKLmytYLCxIz', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 8, 1, 'step:1', '2026-11-29 01:52:52.52389+00', 'info', 'metrics', 'Step 1/540: training loss=1.05', '{"step": 1, "train_loss": 1.050014615058899, "total_steps": 540, "tokens_per_second": 114.4, "train_mean_token_accuracy": 1.0}'),
	('ftevent-GVLgU2ZLYIjwdHoF67VJDlF3', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 9, 1, 'step:2', '2026-11-29 01:52:52.524117+00', 'info', 'metrics', 'Step 2/540: training loss=1.11', '{"step": 2, "train_loss": 1.1086328029632568, "total_steps": 540, "tokens_per_second": 145.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-BFjmFNjGktqmQkph7n4bGy4Z', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 10, 1, 'step:3', '2026-11-29 01:52:52.524138+00', 'info', 'metrics', 'Step 3/540: training loss=1.11', '{"step": 3, "train_loss": 1.1055831909179688, "total_steps": 540, "tokens_per_second": 198.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-WZeDDQ5HoXieHCqhLjv8oslN', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 11, 1, 'step:4', '2026-11-29 01:52:52.524154+00', 'info', 'metrics', 'Step 4/540: training loss=1.07', '{"step": 4, "train_loss": 1.066525936126709, "total_steps": 540, "tokens_per_second": 221.6, "train_mean_token_accuracy": 1.0}'),
	('ftevent-OpFpJyHctN5uPcb9ACkMO0nt', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 12, 1, 'step:5', '2026-11-29 01:52:52.52417+00', 'info', 'metrics', 'Step 5/540: training loss=1.10', '{"step": 5, "train_loss": 1.1003004312515259, "total_steps": 540, "tokens_per_second": 236.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-sxDYZHxqlKRarLhDqZGhy9B8', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 13, 1, 'step:6', '2026-11-29 01:52:52.524184+00', 'info', 'metrics', 'Step 6/540: training loss=1.07', '{"step": 6, "train_loss": 1.0655657052993774, "total_steps": 540, "tokens_per_second": 243.1, "train_mean_token_accuracy": 1.0}'),
	('ftevent-aDnFnN7A6aEZf18sJfw0G3Fq', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 14, 1, 'step:7', '2026-11-29 01:52:52.524198+00', 'info', 'metrics', 'Step 7/540: training loss=1.11', '{"step": 7, "train_loss": 1.1080231666564941, "total_steps": 540, "tokens_per_second": 258.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-fNbJo73D1zrc91n0Z7nl7x4q', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 15, 1, 'step:8', '2026-11-29 01:52:52.524211+00', 'info', 'metrics', 'Step 8/540: training loss=1.13', '{"step": 8, "train_loss": 1.1312673091888428, "total_steps": 540, "tokens_per_second": 243.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-ok0ErPB8q4IzKQulouDPDbAZ', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 16, 1, 'step:9', '2026-11-29 01:52:52.524224+00', 'info', 'metrics', 'Step 9/540: training loss=1.11', '{"step": 9, "train_loss": 1.1072864532470703, "total_steps": 540, "tokens_per_second": 249.0, "train_mean_token_accuracy": 0.0}'),
	('ftevent-rmMmmVpzkragbkcFTHiGrb8u', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 17, 1, 'step:10', '2026-11-29 01:52:52.524237+00', 'info', 'metrics', 'Step 10/540: training loss=1.12', '{"step": 10, "train_loss": 1.121861457824707, "total_steps": 540, "tokens_per_second": 269.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-U2MZ7kPnSqCqP5JiYZhbrPHP', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 18, 1, 'step:11', '2026-11-29 01:52:52.524249+00', 'info', 'metrics', 'Step 11/540: training loss=1.11', '{"step": 11, "train_loss": 1.1082757711410522, "total_steps": 540, "tokens_per_second": 269.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-KBtMnFtCcKGsebXH43apDDxX', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 19, 1, 'step:12', '2026-11-29 01:52:53.606181+00', 'info', 'metrics', 'Step 12/540: training loss=1.13', '{"step": 12, "train_loss": 1.131509780883789, "total_steps": 540, "tokens_per_second": 267.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-8QrbOrXTuh3qjCh504eDr1ub', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 20, 1, 'step:13', '2026-11-29 01:52:53.60631+00', 'info', 'metrics', 'Step 13/540: training loss=1.14', '{"step": 13, "train_loss": 1.1394627094268799, "total_steps": 540, "tokens_per_second": 251.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-yNg3BU6YKpWKk7F308anEZFm', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 21, 1, 'step:14', '2026-11-29 01:52:53.606344+00', 'info', 'metrics', 'Step 14/540: training loss=1.14', '{"step": 14, "train_loss": 1.1385560035705566, "total_steps": 540, "tokens_per_second": 238.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-CiQUwCaoQqaB27AHb4JOjpzJ', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 22, 1, 'step:15', '2026-11-29 01:52:53.606361+00', 'info', 'metrics', 'Step 15/540: training loss=1.13', '{"step": 15, "train_loss": 1.13097083568573, "total_steps": 540, "tokens_per_second": 234.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-N6yAlQNK5dHD79igmJyUeMzU', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 23, 1, 'step:16', '2026-11-29 01:52:53.606375+00', 'info', 'metrics', 'Step 16/540: training loss=1.06', '{"step": 16, "train_loss": 1.0601115226745605, "total_steps": 540, "tokens_per_second": 235.5, "train_mean_token_accuracy": 1.0}'),
	('ftevent-0yF5J1WFU3KGDX4q0nZDlIJ9', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 24, 1, 'step:17', '2026-11-29 01:52:53.606389+00', 'info', 'metrics', 'Step 17/540: training loss=1.11', '{"step": 17, "train_loss": 1.1146665811538696, "total_steps": 540, "tokens_per_second": 242.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-3bWbtz44lX8rK77oacZ8E2ww', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 25, 1, 'step:18', '2026-11-29 01:52:53.606402+00', 'info', 'metrics', 'Step 18/540: training loss=1.09', '{"step": 18, "train_loss": 1.09428071975708, "total_steps": 540, "tokens_per_second": 245.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-YgSkTky3vG89gREfVWZk5u98', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 26, 1, 'step:19', '2026-11-29 01:52:53.606416+00', 'info', 'metrics', 'Step 19/540: training loss=1.09', '{"step": 19, "train_loss": 1.0854885578155518, "total_steps": 540, "tokens_per_second": 251.0, "train_mean_token_accuracy": 0.0}'),
	('ftevent-1hFiHOfwImarK5D7MBrRHWax', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 27, 1, 'step:20', '2026-11-29 01:52:53.606436+00', 'info', 'metrics', 'Step 20/540: training loss=1.06', '{"step": 20, "train_loss": 1.0626943111419678, "total_steps": 540, "tokens_per_second": 256.3, "train_mean_token_accuracy": 1.0}'),
	('ftevent-XJLGTTXiV1arUnbP0LvQf6B1', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 28, 1, 'step:21', '2026-11-29 01:52:53.606448+00', 'info', 'metrics', 'Step 21/540: training loss=1.12', '{"step": 21, "train_loss": 1.1180256605148315, "total_steps": 540, "tokens_per_second": 258.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-2ioesbzkYjbKen1Ng5zue3Yp', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 29, 1, 'step:22', '2026-11-29 01:52:53.606461+00', 'info', 'metrics', 'Step 22/540: training loss=1.08', '{"step": 22, "train_loss": 1.0806268453598022, "total_steps": 540, "tokens_per_second": 259.0, "train_mean_token_accuracy": 1.0}'),
	('ftevent-KEXCHbbRapgT4izjgdfUbadJ', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 30, 1, 'step:23', '2026-11-29 01:52:53.606474+00', 'info', 'metrics', 'Step 23/540: training loss=1.09', '{"step": 23, "train_loss": 1.0923997163772583, "total_steps": 540, "tokens_per_second": 258.6, "train_mean_token_accuracy": 0.0}'),
	('ftevent-SGwwHSO7dGj1LFtla8sqF9Ul', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 31, 1, 'step:24', '2026-11-29 01:52:53.606487+00', 'info', 'metrics', 'Step 24/540: training loss=1.10', '{"step": 24, "train_loss": 1.1018671989440918, "total_steps": 540, "tokens_per_second": 255.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-j76Vb4dvO0Bp19Wp0cViyTrc', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 32, 1, 'step:25', '2026-11-29 01:52:53.6065+00', 'info', 'metrics', 'Step 25/540: training loss=1.09', '{"step": 25, "train_loss": 1.0895557403564453, "total_steps": 540, "tokens_per_second": 253.7, "train_mean_token_accuracy": 1.0}'),
	('ftevent-TnvAiYMjdgLahQvkMCKo3Nl6', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 33, 1, 'step:26', '2026-11-29 01:52:53.606564+00', 'info', 'metrics', 'Step 26/540: training loss=1.13', '{"step": 26, "train_loss": 1.134159803390503, "total_steps": 540, "tokens_per_second": 257.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-dbocHzHr0HsZeYK6AqlfBL2Z', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 34, 1, 'step:27', '2026-11-29 01:52:53.606597+00', 'info', 'metrics', 'Step 27/540: training loss=1.13, validation loss=1.06', '{"step": 27, "train_loss": 1.132228970527649, "valid_loss": 1.0606836080551147, "total_steps": 540, "tokens_per_second": 254.8, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 1.0}'),
	('ftevent-m4o1Z90WQyrHJSU36QxGXebI', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 35, 1, 'step:28', '2026-11-29 01:52:53.606616+00', 'info', 'metrics', 'Step 28/540: training loss=1.10', '{"step": 28, "train_loss": 1.1011414527893066, "total_steps": 540, "tokens_per_second": 259.0, "train_mean_token_accuracy": 0.0}'),
	('ftevent-HAt1zLGF8DdBR20kYIsfWdjT', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 36, 1, 'step:29', '2026-11-29 01:52:53.606639+00', 'info', 'metrics', 'Step 29/540: training loss=1.10', '{"step": 29, "train_loss": 1.100776195526123, "total_steps": 540, "tokens_per_second": 258.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-hXR1tcX1CZRL6hmirrHhgmXt', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 37, 1, 'step:30', '2026-11-29 01:52:53.606659+00', 'info', 'metrics', 'Step 30/540: training loss=1.11', '{"step": 30, "train_loss": 1.1084372997283936, "total_steps": 540, "tokens_per_second": 261.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-53ScAlagSkLGdTVTAmQIZ21g', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 38, 1, 'step:31', '2026-11-29 01:52:53.606677+00', 'info', 'metrics', 'Step 31/540: training loss=1.14', '{"step": 31, "train_loss": 1.1355371475219727, "total_steps": 540, "tokens_per_second": 260.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-6XQUmEfqEIXbPNGaYWIM9BT8', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 39, 1, 'step:32', '2026-11-29 01:52:53.60669+00', 'info', 'metrics', 'Step 32/540: training loss=1.08', '{"step": 32, "train_loss": 1.0758451223373413, "total_steps": 540, "tokens_per_second": 261.0, "train_mean_token_accuracy": 1.0}'),
	('ftevent-rNcpmcQO4IkbHmIAR3Tv07tw', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 40, 1, 'step:33', '2026-11-29 01:52:53.606718+00', 'info', 'metrics', 'Step 33/540: training loss=1.11', '{"step": 33, "train_loss": 1.1061331033706665, "total_steps": 540, "tokens_per_second": 263.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-xGdF5EnBGHcqk3KUJH8oo9Te', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 41, 1, 'step:34', '2026-11-29 01:52:53.606733+00', 'info', 'metrics', 'Step 34/540: training loss=1.12', '{"step": 34, "train_loss": 1.1188271045684814, "total_steps": 540, "tokens_per_second": 266.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-g50Tz3XPBmy4kRF6JfofyKWv', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 42, 1, 'step:35', '2026-11-29 01:52:53.606748+00', 'info', 'metrics', 'Step 35/540: training loss=1.12', '{"step": 35, "train_loss": 1.1231954097747803, "total_steps": 540, "tokens_per_second": 265.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-DoMp9UDJehJS9ZJaGlWfvfXS', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 43, 1, 'step:36', '2026-11-29 01:52:53.60679+00', 'info', 'metrics', 'Step 36/540: training loss=1.10', '{"step": 36, "train_loss": 1.1047782897949219, "total_steps": 540, "tokens_per_second": 265.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-rb40hZGm5Ty39BMLxduGIgTD', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 44, 1, 'step:37', '2026-11-29 01:52:53.606803+00', 'info', 'metrics', 'Step 37/540: training loss=1.08', '{"step": 37, "train_loss": 1.0779153108596802, "total_steps": 540, "tokens_per_second": 256.7, "train_mean_token_accuracy": 1.0}'),
	('ftevent-sQZTRvgISJSJAY0Ytn1jmtOX', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 45, 1, 'step:38', '2026-11-29 01:52:53.606816+00', 'info', 'metrics', 'Step 38/540: training loss=1.08', '{"step": 38, "train_loss": 1.0842612981796265, "total_steps": 540, "tokens_per_second": 261.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-qf8yye7ST3NUbCzpAeAojrwn', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 46, 1, 'step:39', '2026-11-29 01:52:53.606834+00', 'info', 'metrics', 'Step 39/540: training loss=1.08', '{"step": 39, "train_loss": 1.0842732191085815, "total_steps": 540, "tokens_per_second": 261.7, "train_mean_token_accuracy": 1.0}'),
	('ftevent-HjvciB9l3qiJvlA0KrjO3HPm', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 47, 1, 'step:40', '2026-11-29 01:52:53.606847+00', 'info', 'metrics', 'Step 40/540: training loss=1.10', '{"step": 40, "train_loss": 1.0993775129318237, "total_steps": 540, "tokens_per_second": 264.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-VikSyFQLqmXeunswwZEfsIqG', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 48, 1, 'step:41', '2026-11-29 01:52:53.60686+00', 'info', 'metrics', 'Step 41/540: training loss=1.05', '{"step": 41, "train_loss": 1.0515025854110718, "total_steps": 540, "tokens_per_second": 260.1, "train_mean_token_accuracy": 1.0}'),
	('ftevent-uU0Mo6wrDOD5OKYftBO1Utr3', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 49, 1, 'step:42', '2026-11-29 01:52:53.606873+00', 'info', 'metrics', 'Step 42/540: training loss=1.09', '{"step": 42, "train_loss": 1.0901434421539307, "total_steps": 540, "tokens_per_second": 261.3, "train_mean_token_accuracy": 1.0}'),
	('ftevent-vBhYNalfY9X9UcHmcalb52MA', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 50, 1, 'step:43', '2026-11-29 01:52:53.606887+00', 'info', 'metrics', 'Step 43/540: training loss=1.09', '{"step": 43, "train_loss": 1.085187554359436, "total_steps": 540, "tokens_per_second": 256.7, "train_mean_token_accuracy": 1.0}'),
	('ftevent-NFHJmfGUXSBaHBcYT4wfDx6C', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 51, 1, 'step:44', '2026-11-29 01:52:53.606899+00', 'info', 'metrics', 'Step 44/540: training loss=1.06', '{"step": 44, "train_loss": 1.0566996335983276, "total_steps": 540, "tokens_per_second": 256.6, "train_mean_token_accuracy": 1.0}'),
	('ftevent-aESUSga9XPUpQCsBZNAGMEbE', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 52, 1, 'step:45', '2026-11-29 01:52:53.606914+00', 'info', 'metrics', 'Step 45/540: training loss=1.06', '{"step": 45, "train_loss": 1.0584204196929932, "total_steps": 540, "tokens_per_second": 257.2, "train_mean_token_accuracy": 1.0}'),
	('ftevent-IIhkUDuTFJ3Vu3JXe0BBDGAL', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 53, 1, 'step:46', '2026-11-29 01:52:53.606927+00', 'info', 'metrics', 'Step 46/540: training loss=1.16', '{"step": 46, "train_loss": 1.1622810363769531, "total_steps": 540, "tokens_per_second": 254.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-OQLmrihtttl6hXnrC8gNNdpf', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 54, 1, 'step:47', '2026-11-29 01:52:53.606939+00', 'info', 'metrics', 'Step 47/540: training loss=1.04', '{"step": 47, "train_loss": 1.0357589721679688, "total_steps": 540, "tokens_per_second": 256.8, "train_mean_token_accuracy": 1.0}'),
	('ftevent-793uUVPPhTQEnT2idsjhAfTz', 'ftjob-Jmdr7L9KEv2zZtqNhykfjPih', 3, 0, 'validated', '2026-11-29 01:53:00.312079+00', 'info', 'message', 'Files validated, moving job to queued state', '{}'),
	('ftevent-aRazPqFWwpKcNntAvpiubZ6k', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 55, 1, 'step:48', '2026-11-29 01:52:53.606951+00', 'info', 'metrics', 'Step 48/540: training loss=1.12', '{"step": 48, "train_loss": 1.121125340461731, "total_steps": 540, "tokens_per_second": 256.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-BHbHNzCjgfMYHcz93h1E4eyv', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 56, 1, 'step:49', '2026-11-29 01:52:53.606992+00', 'info', 'metrics', 'Step 49/540: training loss=1.13', '{"step": 49, "train_loss": 1.1274677515029907, "total_steps": 540, "tokens_per_second": 259.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-NqxKYks54jEi6LigTMvEkhcT', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 57, 1, 'step:50', '2026-11-29 01:52:53.607005+00', 'info', 'metrics', 'Step 50/540: training loss=1.13', '{"step": 50, "train_loss": 1.1253342628479004, "total_steps": 540, "tokens_per_second": 260.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-7U1mMCaoB1KkECVSrz0YZW6o', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 58, 1, 'step:51', '2026-11-29 01:52:53.60702+00', 'info', 'metrics', 'Step 51/540: training loss=1.03', '{"step": 51, "train_loss": 1.0345150232315063, "total_steps": 540, "tokens_per_second": 262.4, "train_mean_token_accuracy": 1.0}'),
	('ftevent-M5TaeZTRkGWbTBATIedDQkUx', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 59, 1, 'step:52', '2026-11-29 01:52:53.607033+00', 'info', 'metrics', 'Step 52/540: training loss=1.05', '{"step": 52, "train_loss": 1.053155541419983, "total_steps": 540, "tokens_per_second": 263.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-GN3AfWuWPzAwi0v0Bz1uiZlK', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 60, 1, 'step:53', '2026-11-29 01:52:53.607045+00', 'info', 'metrics', 'Step 53/540: training loss=1.09', '{"step": 53, "train_loss": 1.0938094854354858, "total_steps": 540, "tokens_per_second": 263.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-hQAE1R94YscrrgLE3hd06CTP', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 61, 1, 'step:54', '2026-11-29 01:52:53.608568+00', 'info', 'metrics', 'Step 54/540: training loss=1.25, validation loss=1.21', '{"step": 54, "train_loss": 1.2538583278656006, "valid_loss": 1.2084503173828125, "total_steps": 540, "tokens_per_second": 266.0, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0}'),
	('ftevent-BM2qm3FtcQp3298G44kQ2OZk', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 62, 1, 'step:55', '2026-11-29 01:52:53.608632+00', 'info', 'metrics', 'Step 55/540: training loss=1.09', '{"step": 55, "train_loss": 1.0884370803833008, "total_steps": 540, "tokens_per_second": 266.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-1IDbBFOAoQNtMxsrjEJtbJAJ', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 63, 1, 'step:56', '2026-11-29 01:52:53.608652+00', 'info', 'metrics', 'Step 56/540: training loss=1.22', '{"step": 56, "train_loss": 1.2182780504226685, "total_steps": 540, "tokens_per_second": 267.6, "train_mean_token_accuracy": 0.0}'),
	('ftevent-JF92ll5CHl6H8HGb9XUmE5Jr', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 64, 1, 'step:57', '2026-11-29 01:52:53.608668+00', 'info', 'metrics', 'Step 57/540: training loss=1.29', '{"step": 57, "train_loss": 1.2909610271453857, "total_steps": 540, "tokens_per_second": 269.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-VM3znPtslM8b7K1hBfBPagdy', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 65, 1, 'step:58', '2026-11-29 01:52:53.608743+00', 'info', 'metrics', 'Step 58/540: training loss=1.00', '{"step": 58, "train_loss": 1.0032455921173096, "total_steps": 540, "tokens_per_second": 266.4, "train_mean_token_accuracy": 1.0}'),
	('ftevent-1oh94y3GbIQNypYZ3UQLCBD9', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 66, 1, 'step:59', '2026-11-29 01:52:53.608763+00', 'info', 'metrics', 'Step 59/540: training loss=1.06', '{"step": 59, "train_loss": 1.063863754272461, "total_steps": 540, "tokens_per_second": 267.6, "train_mean_token_accuracy": 0.0}'),
	('ftevent-VKYOli6FkltxO19n3S5x7M5A', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 67, 1, 'step:60', '2026-11-29 01:52:53.608777+00', 'info', 'metrics', 'Step 60/540: training loss=1.05', '{"step": 60, "train_loss": 1.0466747283935547, "total_steps": 540, "tokens_per_second": 269.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-RpNHNIKQInmJHynqlubhqrP2', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 68, 1, 'step:61', '2026-11-29 01:52:53.608791+00', 'info', 'metrics', 'Step 61/540: training loss=1.30', '{"step": 61, "train_loss": 1.296915054321289, "total_steps": 540, "tokens_per_second": 269.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-4ECUyJS3fOhrZv15SwLTJktl', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 69, 1, 'step:62', '2026-11-29 01:52:53.608805+00', 'info', 'metrics', 'Step 62/540: training loss=1.27', '{"step": 62, "train_loss": 1.2675825357437134, "total_steps": 540, "tokens_per_second": 268.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-HoTZ9JdjdrzcwMO6FwzSV720', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 70, 1, 'step:63', '2026-11-29 01:52:53.608818+00', 'info', 'metrics', 'Step 63/540: training loss=1.26', '{"step": 63, "train_loss": 1.2625484466552734, "total_steps": 540, "tokens_per_second": 269.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-KdYjMQwIy4HN82BFrTBhTR75', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 71, 1, 'step:64', '2026-11-29 01:52:53.608834+00', 'info', 'metrics', 'Step 64/540: training loss=1.00', '{"step": 64, "train_loss": 0.9952297806739807, "total_steps": 540, "tokens_per_second": 268.3, "train_mean_token_accuracy": 1.0}'),
	('ftevent-pzyrXldqQy2hLh6UfzJngPsy', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 72, 1, 'step:65', '2026-11-29 01:52:53.608847+00', 'info', 'metrics', 'Step 65/540: training loss=1.07', '{"step": 65, "train_loss": 1.0722358226776123, "total_steps": 540, "tokens_per_second": 269.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-eFHJfiJXdPCc9mJNllXy2CNT', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 73, 1, 'step:66', '2026-11-29 01:52:53.60886+00', 'info', 'metrics', 'Step 66/540: training loss=1.20', '{"step": 66, "train_loss": 1.1968235969543457, "total_steps": 540, "tokens_per_second": 268.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-A3tZbRLCoDDUGYXeMqc5Yrhf', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 74, 1, 'step:67', '2026-11-29 01:52:53.608873+00', 'info', 'metrics', 'Step 67/540: training loss=1.03', '{"step": 67, "train_loss": 1.0310622453689575, "total_steps": 540, "tokens_per_second": 267.7, "train_mean_token_accuracy": 1.0}'),
	('ftevent-TUUAY1mGbuafx0DMuMBjA6hE', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 75, 1, 'step:68', '2026-11-29 01:52:53.608885+00', 'info', 'metrics', 'Step 68/540: training loss=1.03', '{"step": 68, "train_loss": 1.0279357433319092, "total_steps": 540, "tokens_per_second": 267.2, "train_mean_token_accuracy": 1.0}'),
	('ftevent-nadTwOi0teMUJhsKMyZqc6hF', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 76, 1, 'step:69', '2026-11-29 01:52:53.608898+00', 'info', 'metrics', 'Step 69/540: training loss=1.03', '{"step": 69, "train_loss": 1.03452730178833, "total_steps": 540, "tokens_per_second": 269.4, "train_mean_token_accuracy": 1.0}'),
	('ftevent-XAPCW1GOnyHrDZIRf1XZnUWl', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 77, 1, 'step:70', '2026-11-29 01:52:53.608913+00', 'info', 'metrics', 'Step 70/540: training loss=1.21', '{"step": 70, "train_loss": 1.2099074125289917, "total_steps": 540, "tokens_per_second": 269.6, "train_mean_token_accuracy": 0.0}'),
	('ftevent-Y7BkVbv6GHO2ze2TKwvbHAal', 'ftjob-Jmdr7L9KEv2zZtqNhykfjPih', 4, 1, 'started', '2026-11-29 01:53:00.363338+00', 'info', 'message', 'Fine-tuning job started', 'null'),
	('ftevent-jixO9uixt8wOa8uX1U4u6ghT', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 78, 1, 'step:71', '2026-11-29 01:52:53.608926+00', 'info', 'metrics', 'Step 71/540: training loss=1.07', '{"step": 71, "train_loss": 1.0693801641464233, "total_steps": 540, "tokens_per_second": 270.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-DQyaPQhtdTni9m6OfQbKOgvE', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 79, 1, 'step:72', '2026-11-29 01:52:53.608973+00', 'info', 'metrics', 'Step 72/540: training loss=1.21', '{"step": 72, "train_loss": 1.206877589225769, "total_steps": 540, "tokens_per_second": 268.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-3mkcjYWzizHcoLq1RjrZnfo5', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 80, 1, 'step:73', '2026-11-29 01:52:53.608987+00', 'info', 'metrics', 'Step 73/540: training loss=1.07', '{"step": 73, "train_loss": 1.0691795349121094, "total_steps": 540, "tokens_per_second": 269.9, "train_mean_token_accuracy": 0.0}');
INSERT INTO public.job_events VALUES
	('ftevent-MOZLqF1PqDzZxH9x3iqmqYqc', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 81, 1, 'step:74', '2026-11-29 01:52:53.609+00', 'info', 'metrics', 'Step 74/540: training loss=1.03', '{"step": 74, "train_loss": 1.0263254642486572, "total_steps": 540, "tokens_per_second": 270.8, "train_mean_token_accuracy": 1.0}'),
	('ftevent-nz0HHvAlqek6tAMLAVJ1BpA1', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 82, 1, 'step:75', '2026-11-29 01:52:53.609012+00', 'info', 'metrics', 'Step 75/540: training loss=1.20', '{"step": 75, "train_loss": 1.2007251977920532, "total_steps": 540, "tokens_per_second": 268.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-8iWVOcOeCWmG5WOSfMa7tQ8e', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 83, 1, 'step:76', '2026-11-29 01:52:53.609027+00', 'info', 'metrics', 'Step 76/540: training loss=1.06', '{"step": 76, "train_loss": 1.0621047019958496, "total_steps": 540, "tokens_per_second": 269.6, "train_mean_token_accuracy": 1.0}'),
	('ftevent-kl7dqMQF6c2hzLfbrpEl5nBP', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 84, 1, 'step:77', '2026-11-29 01:52:53.60904+00', 'info', 'metrics', 'Step 77/540: training loss=1.08', '{"step": 77, "train_loss": 1.0768492221832275, "total_steps": 540, "tokens_per_second": 269.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-JgYbJYrgZLiIzFaHSEHvSTJO', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 85, 1, 'step:78', '2026-11-29 01:52:53.609067+00', 'info', 'metrics', 'Step 78/540: training loss=1.11', '{"step": 78, "train_loss": 1.1121779680252075, "total_steps": 540, "tokens_per_second": 271.0, "train_mean_token_accuracy": 0.0}'),
	('ftevent-xhrS40V0ZsXZWv0Kou6UGoO6', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 86, 1, 'step:79', '2026-11-29 01:52:53.60908+00', 'info', 'metrics', 'Step 79/540: training loss=1.16', '{"step": 79, "train_loss": 1.1641095876693726, "total_steps": 540, "tokens_per_second": 271.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-nmQZPciQ4FcqAaICFEDidvLm', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 87, 1, 'step:80', '2026-11-29 01:52:53.609093+00', 'info', 'metrics', 'Step 80/540: training loss=1.17', '{"step": 80, "train_loss": 1.1671539545059204, "total_steps": 540, "tokens_per_second": 272.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-8VweJ7gXjtyTjT6VC39GL3NJ', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 88, 1, 'step:81', '2026-11-29 01:52:53.609106+00', 'info', 'metrics', 'Step 81/540: training loss=1.18, validation loss=1.06', '{"step": 81, "train_loss": 1.1758050918579102, "valid_loss": 1.0591108798980713, "total_steps": 540, "tokens_per_second": 273.1, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 1.0}'),
	('ftevent-m7o4iLgAO3VIwishxByXkGla', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 89, 1, 'step:82', '2026-11-29 01:52:53.609121+00', 'info', 'metrics', 'Step 82/540: training loss=1.14', '{"step": 82, "train_loss": 1.1368731260299683, "total_steps": 540, "tokens_per_second": 274.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-scIK3n3wb629BjynKBw64Myu', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 90, 1, 'step:83', '2026-11-29 01:52:53.609133+00', 'info', 'metrics', 'Step 83/540: training loss=1.10', '{"step": 83, "train_loss": 1.1035964488983154, "total_steps": 540, "tokens_per_second": 274.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-zzvM27lOqQKaJ44fugepzFCm', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 91, 1, 'step:84', '2026-11-29 01:52:53.609145+00', 'info', 'metrics', 'Step 84/540: training loss=1.06', '{"step": 84, "train_loss": 1.0559499263763428, "total_steps": 540, "tokens_per_second": 275.5, "train_mean_token_accuracy": 1.0}'),
	('ftevent-SAE5l2cOzTd9UmyuHRfOp7R6', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 92, 1, 'step:85', '2026-11-29 01:52:53.609157+00', 'info', 'metrics', 'Step 85/540: training loss=1.09', '{"step": 85, "train_loss": 1.089848518371582, "total_steps": 540, "tokens_per_second": 276.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-PYTJAq1ehhs88OLyyOMZubHc', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 93, 1, 'step:86', '2026-11-29 01:52:53.60917+00', 'info', 'metrics', 'Step 86/540: training loss=1.09', '{"step": 86, "train_loss": 1.0942554473876953, "total_steps": 540, "tokens_per_second": 276.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-vQN0BRXfiz1tp5V9fuLVxZtq', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 94, 1, 'step:87', '2026-11-29 01:52:53.609182+00', 'info', 'metrics', 'Step 87/540: training loss=1.06', '{"step": 87, "train_loss": 1.064081072807312, "total_steps": 540, "tokens_per_second": 274.9, "train_mean_token_accuracy": 1.0}'),
	('ftevent-Rcg0azUWufCfl00UvwU6AsLV', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 95, 1, 'step:88', '2026-11-29 01:52:54.703233+00', 'info', 'metrics', 'Step 88/540: training loss=1.11', '{"step": 88, "train_loss": 1.1111763715744019, "total_steps": 540, "tokens_per_second": 273.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-MqtFor01z4wMjZwerIJzEtIt', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 96, 1, 'step:89', '2026-11-29 01:52:54.703689+00', 'info', 'metrics', 'Step 89/540: training loss=1.04', '{"step": 89, "train_loss": 1.0396108627319336, "total_steps": 540, "tokens_per_second": 270.7, "train_mean_token_accuracy": 1.0}'),
	('ftevent-wTSbANYwYo9lWgaVitPOOm5e', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 97, 1, 'step:90', '2026-11-29 01:52:54.703818+00', 'info', 'metrics', 'Step 90/540: training loss=1.13', '{"step": 90, "train_loss": 1.129843831062317, "total_steps": 540, "tokens_per_second": 271.0, "train_mean_token_accuracy": 0.0}'),
	('ftevent-251xD7eujwZV1rlFxo4kNIzd', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 98, 1, 'step:91', '2026-11-29 01:52:54.703901+00', 'info', 'metrics', 'Step 91/540: training loss=1.06', '{"step": 91, "train_loss": 1.0634009838104248, "total_steps": 540, "tokens_per_second": 269.4, "train_mean_token_accuracy": 1.0}'),
	('ftevent-smLUXKx1LKpflUVwRCIRaFoU', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 99, 1, 'step:92', '2026-11-29 01:52:54.703973+00', 'info', 'metrics', 'Step 92/540: training loss=1.15', '{"step": 92, "train_loss": 1.1468548774719238, "total_steps": 540, "tokens_per_second": 269.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-mafGKMrFwf2yOStKHVmNoEL6', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 100, 1, 'step:93', '2026-11-29 01:52:54.704045+00', 'info', 'metrics', 'Step 93/540: training loss=1.14', '{"step": 93, "train_loss": 1.1411230564117432, "total_steps": 540, "tokens_per_second": 270.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-vFO8hgCDPv3xoYgX6DcLzZq5', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 306, 1, 'paused:1', '2026-11-29 01:53:00.122506+00', 'info', 'message', 'The job has been paused', '{}'),
	('ftevent-Tl7qSkSue3QXompP0JTakyM7', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 101, 1, 'step:94', '2026-11-29 01:52:54.704146+00', 'info', 'metrics', 'Step 94/540: training loss=1.13', '{"step": 94, "train_loss": 1.1290634870529175, "total_steps": 540, "tokens_per_second": 270.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-GcKAP7RBj1G701HOPkcoMLGD', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 102, 1, 'step:95', '2026-11-29 01:52:54.704278+00', 'info', 'metrics', 'Step 95/540: training loss=1.05', '{"step": 95, "train_loss": 1.0524945259094238, "total_steps": 540, "tokens_per_second": 271.8, "train_mean_token_accuracy": 1.0}'),
	('ftevent-vett2VnWKNGKoQVezAvK9uru', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 103, 1, 'step:96', '2026-11-29 01:52:54.704313+00', 'info', 'metrics', 'Step 96/540: training loss=1.00', '{"step": 96, "train_loss": 1.0034544467926025, "total_steps": 540, "tokens_per_second": 272.8, "train_mean_token_accuracy": 1.0}'),
	('ftevent-zR3Gi6K4gusWRaJRYWvAODTZ', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 104, 1, 'step:97', '2026-11-29 01:52:54.704342+00', 'info', 'metrics', 'Step 97/540: training loss=1.10', '{"step": 97, "train_loss": 1.1025371551513672, "total_steps": 540, "tokens_per_second": 272.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-Kn02O9iPIpLWdkofILZxMzAb', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 105, 1, 'step:98', '2026-11-29 01:52:54.704367+00', 'info', 'metrics', 'Step 98/540: training loss=1.10', '{"step": 98, "train_loss": 1.1016494035720825, "total_steps": 540, "tokens_per_second": 273.6, "train_mean_token_accuracy": 0.0}'),
	('ftevent-Q93BIp2jEeY6l7zvMJl99zX9', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 106, 1, 'step:99', '2026-11-29 01:52:54.704391+00', 'info', 'metrics', 'Step 99/540: training loss=1.16', '{"step": 99, "train_loss": 1.1575984954833984, "total_steps": 540, "tokens_per_second": 273.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-vLtBGHZAER25n4ww6nAbdR5g', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 107, 1, 'step:100', '2026-11-29 01:52:54.704417+00', 'info', 'metrics', 'Step 100/540: training loss=1.12', '{"step": 100, "train_loss": 1.1155980825424194, "total_steps": 540, "tokens_per_second": 273.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-JFgFJY8zspWIFVg8y3B6xCLF', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 108, 1, 'step:101', '2026-11-29 01:52:54.70445+00', 'info', 'metrics', 'Step 101/540: training loss=1.07', '{"step": 101, "train_loss": 1.0689020156860352, "total_steps": 540, "tokens_per_second": 273.5, "train_mean_token_accuracy": 1.0}'),
	('ftevent-MgSwD1fmAzO4ZpIBBTI1pBwf', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 109, 1, 'step:102', '2026-11-29 01:52:54.704476+00', 'info', 'metrics', 'Step 102/540: training loss=1.07', '{"step": 102, "train_loss": 1.0682677030563354, "total_steps": 540, "tokens_per_second": 274.2, "train_mean_token_accuracy": 1.0}'),
	('ftevent-HoLygDYNwiuYI4NZYVQPzI7W', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 110, 1, 'step:103', '2026-11-29 01:52:54.704502+00', 'info', 'metrics', 'Step 103/540: training loss=1.07', '{"step": 103, "train_loss": 1.0656144618988037, "total_steps": 540, "tokens_per_second": 272.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-rcVsNA2CsO4BhnSHl4Alva5a', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 111, 1, 'step:104', '2026-11-29 01:52:54.704525+00', 'info', 'metrics', 'Step 104/540: training loss=1.10', '{"step": 104, "train_loss": 1.098594307899475, "total_steps": 540, "tokens_per_second": 273.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-bIy33Z0hPDE1U3BOWucN8bHW', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 112, 1, 'step:105', '2026-11-29 01:52:54.704549+00', 'info', 'metrics', 'Step 105/540: training loss=1.07', '{"step": 105, "train_loss": 1.074715495109558, "total_steps": 540, "tokens_per_second": 273.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-SGoJJVNMN5Lgqq3lNlrdaGCF', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 113, 1, 'step:106', '2026-11-29 01:52:54.704572+00', 'info', 'metrics', 'Step 106/540: training loss=1.07', '{"step": 106, "train_loss": 1.072844386100769, "total_steps": 540, "tokens_per_second": 273.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-VTlliSf1SHzskd2i5kMJ0JTt', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 114, 1, 'step:107', '2026-11-29 01:52:54.704601+00', 'info', 'metrics', 'Step 107/540: training loss=1.23', '{"step": 107, "train_loss": 1.2251700162887573, "total_steps": 540, "tokens_per_second": 275.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-9ZB4svouBG7fbOZO87FYWVlR', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 115, 1, 'step:108', '2026-11-29 01:52:54.704627+00', 'info', 'metrics', 'Step 108/540: training loss=1.04, validation loss=1.06', '{"step": 108, "train_loss": 1.0439337491989136, "valid_loss": 1.055803656578064, "total_steps": 540, "tokens_per_second": 274.7, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0}'),
	('ftevent-Z0IM6wgrZXeU8PfXOCsllpAe', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 116, 1, 'step:109', '2026-11-29 01:52:54.704654+00', 'info', 'metrics', 'Step 109/540: training loss=1.19', '{"step": 109, "train_loss": 1.1881647109985352, "total_steps": 540, "tokens_per_second": 274.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-bIwC40V3cIT1slllf8PI0hJn', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 117, 1, 'step:110', '2026-11-29 01:52:54.704674+00', 'info', 'metrics', 'Step 110/540: training loss=1.23', '{"step": 110, "train_loss": 1.2257591485977173, "total_steps": 540, "tokens_per_second": 276.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-7HRHHQpyel3bDr42ifVyxoPa', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 118, 1, 'step:111', '2026-11-29 01:52:54.704694+00', 'info', 'metrics', 'Step 111/540: training loss=1.06', '{"step": 111, "train_loss": 1.05899977684021, "total_steps": 540, "tokens_per_second": 276.6, "train_mean_token_accuracy": 0.0}'),
	('ftevent-W6IymmxWcXfAyyKfs9nOXekV', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 119, 1, 'step:112', '2026-11-29 01:52:54.704765+00', 'info', 'metrics', 'Step 112/540: training loss=1.01', '{"step": 112, "train_loss": 1.0146620273590088, "total_steps": 540, "tokens_per_second": 278.0, "train_mean_token_accuracy": 1.0}'),
	('ftevent-xEvzeu7w1OJqhW58y9egcazh', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 120, 1, 'step:113', '2026-11-29 01:52:54.704806+00', 'info', 'metrics', 'Step 113/540: training loss=1.04', '{"step": 113, "train_loss": 1.0447075366973877, "total_steps": 540, "tokens_per_second": 278.1, "train_mean_token_accuracy": 1.0}'),
	('ftevent-ZKLbsr6Dw3u4qfUOpuJJ8Szf', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 121, 1, 'step:114', '2026-11-29 01:52:54.704834+00', 'info', 'metrics', 'Step 114/540: training loss=1.02', '{"step": 114, "train_loss": 1.0174511671066284, "total_steps": 540, "tokens_per_second": 279.4, "train_mean_token_accuracy": 1.0}'),
	('ftevent-TjtVVuGZZCDuH3rbPukKuEWg', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 122, 1, 'step:115', '2026-11-29 01:52:54.704861+00', 'info', 'metrics', 'Step 115/540: training loss=1.00', '{"step": 115, "train_loss": 0.9997010827064514, "total_steps": 540, "tokens_per_second": 280.4, "train_mean_token_accuracy": 1.0}'),
	('ftevent-aCDC5pCZEGgoyDriWBB6c4eL', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 123, 1, 'step:116', '2026-11-29 01:52:54.704888+00', 'info', 'metrics', 'Step 116/540: training loss=1.05', '{"step": 116, "train_loss": 1.0474905967712402, "total_steps": 540, "tokens_per_second": 280.5, "train_mean_token_accuracy": 1.0}'),
	('ftevent-6YjsxNBkmWWLTJnSWfTZwIJ7', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 124, 1, 'step:117', '2026-11-29 01:52:54.704912+00', 'info', 'metrics', 'Step 117/540: training loss=1.03', '{"step": 117, "train_loss": 1.0282987356185913, "total_steps": 540, "tokens_per_second": 280.7, "train_mean_token_accuracy": 1.0}'),
	('ftevent-zN3Qnm74Ii13s1MlCZTZz988', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 125, 1, 'step:118', '2026-11-29 01:52:54.704986+00', 'info', 'metrics', 'Step 118/540: training loss=1.16', '{"step": 118, "train_loss": 1.1566051244735718, "total_steps": 540, "tokens_per_second": 280.0, "train_mean_token_accuracy": 0.0}'),
	('ftevent-XRSJA5T5Qc79gASX4UAaxfXS', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 126, 1, 'step:119', '2026-11-29 01:52:54.705019+00', 'info', 'metrics', 'Step 119/540: training loss=1.22', '{"step": 119, "train_loss": 1.2209789752960205, "total_steps": 540, "tokens_per_second": 280.0, "train_mean_token_accuracy": 0.0}'),
	('ftevent-pcpfzMHKunKzeTPKhsgyNKTy', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 127, 1, 'step:120', '2026-11-29 01:52:54.705041+00', 'info', 'metrics', 'Step 120/540: training loss=1.00', '{"step": 120, "train_loss": 0.9982097744941711, "total_steps": 540, "tokens_per_second": 280.2, "train_mean_token_accuracy": 1.0}'),
	('ftevent-vzCKOBlQVkDENn0W47tuB3fZ', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 128, 1, 'step:121', '2026-11-29 01:52:54.705065+00', 'info', 'metrics', 'Step 121/540: training loss=0.96', '{"step": 121, "train_loss": 0.9615634679794312, "total_steps": 540, "tokens_per_second": 279.4, "train_mean_token_accuracy": 1.0}'),
	('ftevent-w9vAqLG8ujQa6vTfSoLfYvEU', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 129, 1, 'step:122', '2026-11-29 01:52:54.705089+00', 'info', 'metrics', 'Step 122/540: training loss=1.24', '{"step": 122, "train_loss": 1.2414734363555908, "total_steps": 540, "tokens_per_second": 278.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-oEAwN4tnhbYO9FLMhdD0TDot', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 130, 1, 'step:123', '2026-11-29 01:52:54.705113+00', 'info', 'metrics', 'Step 123/540: training loss=1.27', '{"step": 123, "train_loss": 1.265162467956543, "total_steps": 540, "tokens_per_second": 279.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-IFQbUTiY3tkkog25GqwaZey5', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 131, 1, 'step:124', '2026-11-29 01:52:54.705136+00', 'info', 'metrics', 'Step 124/540: training loss=1.05', '{"step": 124, "train_loss": 1.0513331890106201, "total_steps": 540, "tokens_per_second": 279.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-uLOAojXfq9KladjrP99XlsZD', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 132, 1, 'step:125', '2026-11-29 01:52:54.705167+00', 'info', 'metrics', 'Step 125/540: training loss=1.00', '{"step": 125, "train_loss": 1.0030878782272339, "total_steps": 540, "tokens_per_second": 280.3, "train_mean_token_accuracy": 1.0}'),
	('ftevent-bIBR7wKems1IuIFM1FFQbPmE', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 133, 1, 'step:126', '2026-11-29 01:52:54.705193+00', 'info', 'metrics', 'Step 126/540: training loss=1.14', '{"step": 126, "train_loss": 1.1447932720184326, "total_steps": 540, "tokens_per_second": 281.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-ep3sKoLTMxK5RGsRB3WcdzE8', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 134, 1, 'step:127', '2026-11-29 01:52:54.705216+00', 'info', 'metrics', 'Step 127/540: training loss=1.06', '{"step": 127, "train_loss": 1.0608381032943726, "total_steps": 540, "tokens_per_second": 282.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-ugLlojGYfeLu2bMbO5fVU6la', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 135, 1, 'step:128', '2026-11-29 01:52:54.705239+00', 'info', 'metrics', 'Step 128/540: training loss=1.05', '{"step": 128, "train_loss": 1.0483012199401855, "total_steps": 540, "tokens_per_second": 281.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-2J4u1hsmQv0eAfVbbPLm8vBo', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 136, 1, 'step:129', '2026-11-29 01:52:54.705263+00', 'info', 'metrics', 'Step 129/540: training loss=0.98', '{"step": 129, "train_loss": 0.9759530425071716, "total_steps": 540, "tokens_per_second": 282.2, "train_mean_token_accuracy": 1.0}'),
	('ftevent-F7r2JOdbqcbc3o9qRzj2ADMS', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 137, 1, 'step:130', '2026-11-29 01:52:54.708124+00', 'info', 'metrics', 'Step 130/540: training loss=0.96', '{"step": 130, "train_loss": 0.9595239758491516, "total_steps": 540, "tokens_per_second": 282.6, "train_mean_token_accuracy": 1.0}'),
	('ftevent-HEGlxNkM7LvF5ifLsxaqsQDE', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 138, 1, 'step:131', '2026-11-29 01:52:54.708239+00', 'info', 'metrics', 'Step 131/540: training loss=0.86', '{"step": 131, "train_loss": 0.8648461699485779, "total_steps": 540, "tokens_per_second": 282.0, "train_mean_token_accuracy": 1.0}'),
	('ftevent-36BKH0T6KMJrBYifmZ5FBnlm', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 139, 1, 'step:132', '2026-11-29 01:52:54.708386+00', 'info', 'metrics', 'Step 132/540: training loss=0.99', '{"step": 132, "train_loss": 0.9889904856681824, "total_steps": 540, "tokens_per_second": 282.8, "train_mean_token_accuracy": 1.0}'),
	('ftevent-hnUvqrLFe0b4ojHKu42LytMN', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 140, 1, 'step:133', '2026-11-29 01:52:54.708495+00', 'info', 'metrics', 'Step 133/540: training loss=1.23', '{"step": 133, "train_loss": 1.2256543636322021, "total_steps": 540, "tokens_per_second": 284.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-Hr9OVMh4GyB54NthtsWAfFoz', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 141, 1, 'step:134', '2026-11-29 01:52:54.708597+00', 'info', 'metrics', 'Step 134/540: training loss=1.26', '{"step": 134, "train_loss": 1.2553095817565918, "total_steps": 540, "tokens_per_second": 284.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-exoYA6gL2AsuOCIjHxiXPPs8', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 142, 1, 'step:135', '2026-11-29 01:52:54.708637+00', 'info', 'metrics', 'Step 135/540: training loss=0.95, validation loss=1.10', '{"step": 135, "train_loss": 0.9500722289085388, "valid_loss": 1.1010096073150635, "total_steps": 540, "tokens_per_second": 283.8, "train_mean_token_accuracy": 1.0, "valid_mean_token_accuracy": 0.0}'),
	('ftevent-tvk9xXRfuU9vPVZBiFgyrZBD', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 143, 1, 'step:136', '2026-11-29 01:52:54.708663+00', 'info', 'metrics', 'Step 136/540: training loss=0.90', '{"step": 136, "train_loss": 0.9035812616348267, "total_steps": 540, "tokens_per_second": 284.6, "train_mean_token_accuracy": 1.0}'),
	('ftevent-HNNLm2bL2lShQzqW447gZT6k', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 144, 1, 'step:137', '2026-11-29 01:52:54.708724+00', 'info', 'metrics', 'Step 137/540: training loss=1.33', '{"step": 137, "train_loss": 1.330819845199585, "total_steps": 540, "tokens_per_second": 283.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-oHRP2Sk54gXn7FTVPQZ0ZoJ0', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 145, 1, 'step:138', '2026-11-29 01:52:54.708754+00', 'info', 'metrics', 'Step 138/540: training loss=1.30', '{"step": 138, "train_loss": 1.2968175411224365, "total_steps": 540, "tokens_per_second": 282.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-XuCfqiSkLPkVXRUKXR6tlUKO', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 146, 1, 'step:139', '2026-11-29 01:52:54.70878+00', 'info', 'metrics', 'Step 139/540: training loss=1.20', '{"step": 139, "train_loss": 1.2044978141784668, "total_steps": 540, "tokens_per_second": 283.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-afWuAqfPFwbBITaZP9G2FJ5q', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 147, 1, 'step:140', '2026-11-29 01:52:54.708804+00', 'info', 'metrics', 'Step 140/540: training loss=1.29', '{"step": 140, "train_loss": 1.2856636047363281, "total_steps": 540, "tokens_per_second": 282.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-nCF548jVXu7w4euWbJ0bOZTW', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 148, 1, 'step:141', '2026-11-29 01:52:54.708884+00', 'info', 'metrics', 'Step 141/540: training loss=1.25', '{"step": 141, "train_loss": 1.2453089952468872, "total_steps": 540, "tokens_per_second": 281.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-0rKtqLwDvnNXRcDp1r9pAOTZ', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 149, 1, 'step:142', '2026-11-29 01:52:54.708915+00', 'info', 'metrics', 'Step 142/540: training loss=1.20', '{"step": 142, "train_loss": 1.1991114616394043, "total_steps": 540, "tokens_per_second": 281.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-xivZSrvHV18cvt1JhgOrhRJ5', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 150, 1, 'step:143', '2026-11-29 01:52:54.708941+00', 'info', 'metrics', 'Step 143/540: training loss=1.22', '{"step": 143, "train_loss": 1.2175931930541992, "total_steps": 540, "tokens_per_second": 281.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-J9EAX6KzGI5wSwdJj2klR0dv', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 151, 1, 'step:144', '2026-11-29 01:52:54.708969+00', 'info', 'metrics', 'Step 144/540: training loss=0.89', '{"step": 144, "train_loss": 0.8868808746337891, "total_steps": 540, "tokens_per_second": 280.5, "train_mean_token_accuracy": 1.0}'),
	('ftevent-pYXx940U1rpNp7VSojxt3mR3', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 152, 1, 'step:145', '2026-11-29 01:52:54.708994+00', 'info', 'metrics', 'Step 145/540: training loss=1.13', '{"step": 145, "train_loss": 1.128456473350525, "total_steps": 540, "tokens_per_second": 281.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-ONhtSRwgBNQF0AU4kxWgRddY', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 153, 1, 'step:146', '2026-11-29 01:52:54.70902+00', 'info', 'metrics', 'Step 146/540: training loss=1.14', '{"step": 146, "train_loss": 1.139018177986145, "total_steps": 540, "tokens_per_second": 279.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-AOdGTQ0Wla3b8GGXJXVCrpdW', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 154, 1, 'step:147', '2026-11-29 01:52:54.709052+00', 'info', 'metrics', 'Step 147/540: training loss=1.16', '{"step": 147, "train_loss": 1.159955382347107, "total_steps": 540, "tokens_per_second": 278.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-1HRiKgYS4cw15AoTzvLscFSQ', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 155, 1, 'step:148', '2026-11-29 01:52:54.709149+00', 'info', 'metrics', 'Step 148/540: training loss=1.14', '{"step": 148, "train_loss": 1.1387226581573486, "total_steps": 540, "tokens_per_second": 278.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-xNXUIaJvLdWoWGARczGV2bHe', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 156, 1, 'step:149', '2026-11-29 01:52:54.709176+00', 'info', 'metrics', 'Step 149/540: training loss=1.19', '{"step": 149, "train_loss": 1.1906572580337524, "total_steps": 540, "tokens_per_second": 275.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-VSgsiy3L23Pm3qGDC1JHVAWG', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 157, 1, 'step:150', '2026-11-29 01:52:54.7092+00', 'info', 'metrics', 'Step 150/540: training loss=0.97', '{"step": 150, "train_loss": 0.9667376279830933, "total_steps": 540, "tokens_per_second": 275.5, "train_mean_token_accuracy": 1.0}'),
	('ftevent-zC7quHGeav5nmVCTgedSF5Vf', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 158, 1, 'step:151', '2026-11-29 01:52:54.709293+00', 'info', 'metrics', 'Step 151/540: training loss=1.09', '{"step": 151, "train_loss": 1.0938628911972046, "total_steps": 540, "tokens_per_second": 276.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-K7BllhX558x9iw7nUm5AF9H4', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 159, 1, 'step:152', '2026-11-29 01:52:54.70932+00', 'info', 'metrics', 'Step 152/540: training loss=0.97', '{"step": 152, "train_loss": 0.9671590328216553, "total_steps": 540, "tokens_per_second": 277.9, "train_mean_token_accuracy": 1.0}'),
	('ftevent-PSgIOSrHNFhMjXoUgHlrI0Dr', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 160, 1, 'step:153', '2026-11-29 01:52:54.709387+00', 'info', 'metrics', 'Step 153/540: training loss=1.06', '{"step": 153, "train_loss": 1.0568435192108154, "total_steps": 540, "tokens_per_second": 279.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-p9CkQPsqzJh2l0lbwGE4r7yT', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 161, 1, 'step:154', '2026-11-29 01:52:54.70942+00', 'info', 'metrics', 'Step 154/540: training loss=1.41', '{"step": 154, "train_loss": 1.4086790084838867, "total_steps": 540, "tokens_per_second": 280.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-4dYwj6ZGgxw0opGMnnR9oYWB', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 162, 1, 'step:155', '2026-11-29 01:52:54.709447+00', 'info', 'metrics', 'Step 155/540: training loss=1.17', '{"step": 155, "train_loss": 1.1722712516784668, "total_steps": 540, "tokens_per_second": 281.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-cGDLDjwsUtQDJeiFv7K4RDUE', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 163, 1, 'step:156', '2026-11-29 01:52:54.709474+00', 'info', 'metrics', 'Step 156/540: training loss=1.01', '{"step": 156, "train_loss": 1.0133662223815918, "total_steps": 540, "tokens_per_second": 283.0, "train_mean_token_accuracy": 1.0}'),
	('ftevent-aso17lXa7IHiogiUGxv8ozXt', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 164, 1, 'step:157', '2026-11-29 01:52:54.709497+00', 'info', 'metrics', 'Step 157/540: training loss=1.02', '{"step": 157, "train_loss": 1.0244578123092651, "total_steps": 540, "tokens_per_second": 284.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-LBs43GTEmXN28RWJrT99z1z4', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 165, 1, 'step:158', '2026-11-29 01:52:54.709519+00', 'info', 'metrics', 'Step 158/540: training loss=0.92', '{"step": 158, "train_loss": 0.9177348613739014, "total_steps": 540, "tokens_per_second": 285.6, "train_mean_token_accuracy": 1.0}'),
	('ftevent-WBVYK2Q5iKGyOdw6JLRZHJ5j', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 166, 1, 'step:159', '2026-11-29 01:52:54.709541+00', 'info', 'metrics', 'Step 159/540: training loss=0.92', '{"step": 159, "train_loss": 0.9194695353507996, "total_steps": 540, "tokens_per_second": 286.9, "train_mean_token_accuracy": 1.0}'),
	('ftevent-m5ZfpuqnFbOuj4O8XG9AarWP', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 167, 1, 'step:160', '2026-11-29 01:52:54.709569+00', 'info', 'metrics', 'Step 160/540: training loss=1.01', '{"step": 160, "train_loss": 1.0064051151275635, "total_steps": 540, "tokens_per_second": 288.2, "train_mean_token_accuracy": 1.0}'),
	('ftevent-RQnI6f75MGVVYRc4KoJ5Eqb6', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 168, 1, 'step:161', '2026-11-29 01:52:54.709592+00', 'info', 'metrics', 'Step 161/540: training loss=1.28', '{"step": 161, "train_loss": 1.2831482887268066, "total_steps": 540, "tokens_per_second": 289.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-yU4VNQsOyFplozBTcZuNPUZJ', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 169, 1, 'step:162', '2026-11-29 01:52:54.709619+00', 'info', 'metrics', 'Step 162/540: training loss=1.35, validation loss=0.92', '{"step": 162, "train_loss": 1.3456007242202759, "valid_loss": 0.9207718968391418, "total_steps": 540, "tokens_per_second": 290.5, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 1.0}'),
	('ftevent-3cuB5JURy0n1WoOismzJgwQ2', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 170, 1, 'step:163', '2026-11-29 01:52:54.709644+00', 'info', 'metrics', 'Step 163/540: training loss=0.92', '{"step": 163, "train_loss": 0.9215075969696045, "total_steps": 540, "tokens_per_second": 291.2, "train_mean_token_accuracy": 1.0}'),
	('ftevent-Y3K3T1lgJPp40J6G2595e2g2', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 171, 1, 'step:164', '2026-11-29 01:52:54.716887+00', 'info', 'metrics', 'Step 164/540: training loss=1.45', '{"step": 164, "train_loss": 1.4527232646942139, "total_steps": 540, "tokens_per_second": 292.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-as0QULj4unpF6xe1ry9yZGkM', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 172, 1, 'step:165', '2026-11-29 01:52:54.716954+00', 'info', 'metrics', 'Step 165/540: training loss=0.98', '{"step": 165, "train_loss": 0.9805589914321899, "total_steps": 540, "tokens_per_second": 293.0, "train_mean_token_accuracy": 1.0}'),
	('ftevent-OsQI9PwR715DSHarWM7nfCld', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 173, 1, 'step:166', '2026-11-29 01:52:54.717012+00', 'info', 'metrics', 'Step 166/540: training loss=1.43', '{"step": 166, "train_loss": 1.4331376552581787, "total_steps": 540, "tokens_per_second": 293.6, "train_mean_token_accuracy": 0.0}'),
	('ftevent-yxSu5RvBcj7lQfJzA3jiBmp7', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 174, 1, 'step:167', '2026-11-29 01:52:54.71705+00', 'info', 'metrics', 'Step 167/540: training loss=1.03', '{"step": 167, "train_loss": 1.031099796295166, "total_steps": 540, "tokens_per_second": 294.6, "train_mean_token_accuracy": 1.0}'),
	('ftevent-b2ZBx5aSXskANbpwM9gHpcEB', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 175, 1, 'step:168', '2026-11-29 01:52:54.717087+00', 'info', 'metrics', 'Step 168/540: training loss=1.29', '{"step": 168, "train_loss": 1.2938618659973145, "total_steps": 540, "tokens_per_second": 294.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-R54gkjYPwNa7yylDBJf9JwPN', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 176, 1, 'step:169', '2026-11-29 01:52:54.717115+00', 'info', 'metrics', 'Step 169/540: training loss=1.02', '{"step": 169, "train_loss": 1.021234154701233, "total_steps": 540, "tokens_per_second": 294.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-sqY5nMgz938uvwNjce1HJgrs', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 177, 1, 'step:170', '2026-11-29 01:52:54.717142+00', 'info', 'metrics', 'Step 170/540: training loss=1.21', '{"step": 170, "train_loss": 1.2137420177459717, "total_steps": 540, "tokens_per_second": 294.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-xTaK29klylfKXtPzqFXQMc2W', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 178, 1, 'step:171', '2026-11-29 01:52:54.71717+00', 'info', 'metrics', 'Step 171/540: training loss=1.08', '{"step": 171, "train_loss": 1.0806511640548706, "total_steps": 540, "tokens_per_second": 295.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-rNQ5EjEwhMTSa7jbbyZmO6gH', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 179, 1, 'step:172', '2026-11-29 01:52:54.717219+00', 'info', 'metrics', 'Step 172/540: training loss=0.95', '{"step": 172, "train_loss": 0.9499174356460571, "total_steps": 540, "tokens_per_second": 296.0, "train_mean_token_accuracy": 1.0}');
INSERT INTO public.job_events VALUES
	('ftevent-udZghl7PGoRyQLssfjZKVzII', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 180, 1, 'step:173', '2026-11-29 01:52:54.717255+00', 'info', 'metrics', 'Step 173/540: training loss=1.05', '{"step": 173, "train_loss": 1.0477782487869263, "total_steps": 540, "tokens_per_second": 296.0, "train_mean_token_accuracy": 0.0}'),
	('ftevent-oey3Zh0piSzr8pVs8IlL6nDN', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 181, 1, 'step:174', '2026-11-29 01:52:55.787573+00', 'info', 'metrics', 'Step 174/540: training loss=1.02', '{"step": 174, "train_loss": 1.0181410312652588, "total_steps": 540, "tokens_per_second": 297.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-NyEz2ApxNANqQqnDsJsDAPkZ', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 182, 1, 'step:175', '2026-11-29 01:52:55.794992+00', 'info', 'metrics', 'Step 175/540: training loss=1.19', '{"step": 175, "train_loss": 1.188533067703247, "total_steps": 540, "tokens_per_second": 297.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-1x9oJfCMBCGBhNGXFvCj1bAN', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 183, 1, 'step:176', '2026-11-29 01:52:55.795091+00', 'info', 'metrics', 'Step 176/540: training loss=0.95', '{"step": 176, "train_loss": 0.9542932510375977, "total_steps": 540, "tokens_per_second": 298.5, "train_mean_token_accuracy": 1.0}'),
	('ftevent-Y2uFa4Vn23jVzcJRFmwpj2Dq', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 184, 1, 'step:177', '2026-11-29 01:52:55.795113+00', 'info', 'metrics', 'Step 177/540: training loss=1.19', '{"step": 177, "train_loss": 1.1916745901107788, "total_steps": 540, "tokens_per_second": 299.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-t6uqsuO1T72e1F2HYkUSnDkp', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 185, 1, 'step:178', '2026-11-29 01:52:55.795132+00', 'info', 'metrics', 'Step 178/540: training loss=1.02', '{"step": 178, "train_loss": 1.0167666673660278, "total_steps": 540, "tokens_per_second": 299.4, "train_mean_token_accuracy": 1.0}'),
	('ftevent-mJpRaD6vjlZP68hpw8IDI1Fo', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 186, 1, 'step:179', '2026-11-29 01:52:55.795149+00', 'info', 'metrics', 'Step 179/540: training loss=1.07', '{"step": 179, "train_loss": 1.0732364654541016, "total_steps": 540, "tokens_per_second": 300.0, "train_mean_token_accuracy": 1.0}'),
	('ftevent-51sFmagTtgTEUh1VEZayVJqC', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 187, 1, 'step:180', '2026-11-29 01:52:55.795172+00', 'info', 'metrics', 'Step 180/540: training loss=0.96, validation loss=0.99, full validation loss=1.06', '{"step": 180, "train_loss": 0.9606009721755981, "valid_loss": 0.9887853264808655, "total_steps": 540, "valid_roc_auc": 0.9074074074074074, "valid_accuracy": 0.5555555555555556, "valid_f1_macro": 0.5555555555555555, "valid_f1_micro": 0.5555555555555556, "full_valid_loss": 1.0566902160644531, "tokens_per_second": 283.7, "valid_f1_weighted": 0.5555555555555556, "valid_recall_macro": 0.5555555555555555, "valid_recall_micro": 0.5555555555555556, "valid_precision_macro": 0.6888888888888888, "valid_precision_micro": 0.5555555555555556, "valid_recall_weighted": 0.5555555555555556, "valid_precision_weighted": 0.6888888888888889, "train_mean_token_accuracy": 1.0, "valid_mean_token_accuracy": 1.0, "full_valid_mean_token_accuracy": 0.5555555555555556}'),
	('ftevent-l2Nka4Sc8ZGI1XBDla1ZWosg', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 188, 1, 'step:181', '2026-11-29 01:52:55.795204+00', 'info', 'metrics', 'Step 181/540: training loss=1.04', '{"step": 181, "train_loss": 1.0441871881484985, "total_steps": 540, "tokens_per_second": 280.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-1TrhSAdl0Z4Mih6eeLlm6tDC', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 189, 1, 'step:182', '2026-11-29 01:52:55.795217+00', 'info', 'metrics', 'Step 182/540: training loss=1.00', '{"step": 182, "train_loss": 0.9996321201324463, "total_steps": 540, "tokens_per_second": 280.7, "train_mean_token_accuracy": 1.0}'),
	('ftevent-Be2lvBDOkMIIQfouOoKyrRWc', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 190, 1, 'step:183', '2026-11-29 01:52:55.79523+00', 'info', 'metrics', 'Step 183/540: training loss=1.04', '{"step": 183, "train_loss": 1.03947114944458, "total_steps": 540, "tokens_per_second": 280.1, "train_mean_token_accuracy": 1.0}'),
	('ftevent-NhVlDcc4g6LegiJ1fL4j4nSP', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 191, 1, 'step:184', '2026-11-29 01:52:55.795244+00', 'info', 'metrics', 'Step 184/540: training loss=0.89', '{"step": 184, "train_loss": 0.8935213088989258, "total_steps": 540, "tokens_per_second": 279.2, "train_mean_token_accuracy": 1.0}'),
	('ftevent-44XCnDMkG9TcNp2ldKICtVL2', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 192, 1, 'step:185', '2026-11-29 01:52:55.79532+00', 'info', 'metrics', 'Step 185/540: training loss=1.01', '{"step": 185, "train_loss": 1.0091522932052612, "total_steps": 540, "tokens_per_second": 278.9, "train_mean_token_accuracy": 1.0}'),
	('ftevent-dnjxdHDMewXxix0SWSJUVKLY', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 193, 1, 'step:186', '2026-11-29 01:52:55.795333+00', 'info', 'metrics', 'Step 186/540: training loss=1.17', '{"step": 186, "train_loss": 1.165557861328125, "total_steps": 540, "tokens_per_second": 279.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-193mOiw52T6u3CniR8HXifwt', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 194, 1, 'step:187', '2026-11-29 01:52:55.795349+00', 'info', 'metrics', 'Step 187/540: training loss=0.95', '{"step": 187, "train_loss": 0.9523459672927856, "total_steps": 540, "tokens_per_second": 279.6, "train_mean_token_accuracy": 1.0}'),
	('ftevent-3REDIS7QhvbixkidaM5sj3Q5', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 195, 1, 'step:188', '2026-11-29 01:52:55.795362+00', 'info', 'metrics', 'Step 188/540: training loss=1.10', '{"step": 188, "train_loss": 1.1034395694732666, "total_steps": 540, "tokens_per_second": 280.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-d9eryZxAujJXSa2yf8I8u4nU', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 196, 1, 'step:189', '2026-11-29 01:52:55.795376+00', 'info', 'metrics', 'Step 189/540: training loss=1.12, validation loss=1.09', '{"step": 189, "train_loss": 1.123636245727539, "valid_loss": 1.0903191566467285, "total_steps": 540, "tokens_per_second": 279.1, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0}'),
	('ftevent-wre7RWy9ElrT1RW4JpBYd0s7', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 197, 1, 'step:190', '2026-11-29 01:52:55.795389+00', 'info', 'metrics', 'Step 190/540: training loss=1.23', '{"step": 190, "train_loss": 1.2322908639907837, "total_steps": 540, "tokens_per_second": 279.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-JlzJDcw4xcYLEiFS13bXKffi', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 198, 1, 'step:191', '2026-11-29 01:52:55.795405+00', 'info', 'metrics', 'Step 191/540: training loss=1.06', '{"step": 191, "train_loss": 1.0620487928390503, "total_steps": 540, "tokens_per_second": 279.2, "train_mean_token_accuracy": 1.0}'),
	('ftevent-2AbyXc0C4WfgRlMG8zgGEW8W', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 199, 1, 'step:192', '2026-11-29 01:52:55.795418+00', 'info', 'metrics', 'Step 192/540: training loss=0.88', '{"step": 192, "train_loss": 0.8752396702766418, "total_steps": 540, "tokens_per_second": 280.2, "train_mean_token_accuracy": 1.0}'),
	('ftevent-lsaQCzNAp2efs6D9JnVSJXQU', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 200, 1, 'step:193', '2026-11-29 01:52:55.795433+00', 'info', 'metrics', 'Step 193/540: training loss=1.04', '{"step": 193, "train_loss": 1.0393940210342407, "total_steps": 540, "tokens_per_second": 280.1, "train_mean_token_accuracy": 1.0}'),
	('ftevent-DGw4jmb2ynh1wIABRdwBHQ2X', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 201, 1, 'step:194', '2026-11-29 01:52:55.795446+00', 'info', 'metrics', 'Step 194/540: training loss=1.47', '{"step": 194, "train_loss": 1.4728208780288696, "total_steps": 540, "tokens_per_second": 280.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-14rygLuGPLwJV6t9hrd7MGtF', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 202, 1, 'step:195', '2026-11-29 01:52:55.795458+00', 'info', 'metrics', 'Step 195/540: training loss=0.96', '{"step": 195, "train_loss": 0.9598747491836548, "total_steps": 540, "tokens_per_second": 280.6, "train_mean_token_accuracy": 1.0}'),
	('ftevent-7DSFmGwvkiunFjxGBEcgu5mh', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 203, 1, 'step:196', '2026-11-29 01:52:55.795471+00', 'info', 'metrics', 'Step 196/540: training loss=0.67', '{"step": 196, "train_loss": 0.6693349480628967, "total_steps": 540, "tokens_per_second": 280.5, "train_mean_token_accuracy": 1.0}'),
	('ftevent-goJrU2g1pGtv6Epx5mFGajch', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 204, 1, 'step:197', '2026-11-29 01:52:55.795501+00', 'info', 'metrics', 'Step 197/540: training loss=1.46', '{"step": 197, "train_loss": 1.4616875648498535, "total_steps": 540, "tokens_per_second": 280.6, "train_mean_token_accuracy": 0.0}'),
	('ftevent-kVzrx5xyc8bY88DBiMOsEqsm', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 205, 1, 'step:198', '2026-11-29 01:52:55.795515+00', 'info', 'metrics', 'Step 198/540: training loss=0.77', '{"step": 198, "train_loss": 0.7744397521018982, "total_steps": 540, "tokens_per_second": 281.7, "train_mean_token_accuracy": 1.0}'),
	('ftevent-rdU7Uwoiq6rQaNT0kXolQc1J', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 206, 1, 'step:199', '2026-11-29 01:52:55.79553+00', 'info', 'metrics', 'Step 199/540: training loss=1.04', '{"step": 199, "train_loss": 1.0414950847625732, "total_steps": 540, "tokens_per_second": 282.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-Zy2mSeb14jyXfI9ooBov5Kbb', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 207, 1, 'step:200', '2026-11-29 01:52:55.795544+00', 'info', 'metrics', 'Step 200/540: training loss=0.76', '{"step": 200, "train_loss": 0.7579779624938965, "total_steps": 540, "tokens_per_second": 283.2, "train_mean_token_accuracy": 1.0}'),
	('ftevent-CEFiq0VrRYs8K4Xm1ugeSGSw', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 208, 1, 'step:201', '2026-11-29 01:52:55.795556+00', 'info', 'metrics', 'Step 201/540: training loss=0.74', '{"step": 201, "train_loss": 0.7417901754379272, "total_steps": 540, "tokens_per_second": 284.3, "train_mean_token_accuracy": 1.0}'),
	('ftevent-CCLGwjxXTyXB9ZjnfbLhsn7n', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 209, 1, 'step:202', '2026-11-29 01:52:55.795569+00', 'info', 'metrics', 'Step 202/540: training loss=1.06', '{"step": 202, "train_loss": 1.0575886964797974, "total_steps": 540, "tokens_per_second": 285.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-CFuzgIlCgRfF815U6eYzAAO5', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 210, 1, 'step:203', '2026-11-29 01:52:55.795581+00', 'info', 'metrics', 'Step 203/540: training loss=0.78', '{"step": 203, "train_loss": 0.7770380973815918, "total_steps": 540, "tokens_per_second": 286.4, "train_mean_token_accuracy": 1.0}'),
	('ftevent-XjoDgObFC3RZFK9ES4xJrCKF', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 211, 1, 'step:204', '2026-11-29 01:52:55.795594+00', 'info', 'metrics', 'Step 204/540: training loss=0.82', '{"step": 204, "train_loss": 0.8187865614891052, "total_steps": 540, "tokens_per_second": 287.5, "train_mean_token_accuracy": 1.0}'),
	('ftevent-IGRbdHwRVvbGxHWmoCz9f44w', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 212, 1, 'step:205', '2026-11-29 01:52:55.795607+00', 'info', 'metrics', 'Step 205/540: training loss=1.15', '{"step": 205, "train_loss": 1.1482768058776855, "total_steps": 540, "tokens_per_second": 288.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-FGtax1thSL6ZFf1zusoQQiwy', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 213, 1, 'step:206', '2026-11-29 01:52:55.795621+00', 'info', 'metrics', 'Step 206/540: training loss=0.78', '{"step": 206, "train_loss": 0.7779908180236816, "total_steps": 540, "tokens_per_second": 289.2, "train_mean_token_accuracy": 1.0}'),
	('ftevent-x9SoGqmUJnEQVlNi6BhpLKMx', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 214, 1, 'step:207', '2026-11-29 01:52:55.795634+00', 'info', 'metrics', 'Step 207/540: training loss=1.19', '{"step": 207, "train_loss": 1.1908529996871948, "total_steps": 540, "tokens_per_second": 289.6, "train_mean_token_accuracy": 0.0}'),
	('ftevent-MqB5yfcG89OGtI3AXNvF0bXb', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 215, 1, 'step:208', '2026-11-29 01:52:55.795663+00', 'info', 'metrics', 'Step 208/540: training loss=1.01', '{"step": 208, "train_loss": 1.0129170417785645, "total_steps": 540, "tokens_per_second": 289.7, "train_mean_token_accuracy": 1.0}'),
	('ftevent-62lcUuuJI0hmUr0RKtBXfbc1', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 216, 1, 'step:209', '2026-11-29 01:52:55.795675+00', 'info', 'metrics', 'Step 209/540: training loss=0.61', '{"step": 209, "train_loss": 0.6131402254104614, "total_steps": 540, "tokens_per_second": 289.9, "train_mean_token_accuracy": 1.0}'),
	('ftevent-FccUAxMHNNSwr9VnjWKKS4RK', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 217, 1, 'step:210', '2026-11-29 01:52:55.795688+00', 'info', 'metrics', 'Step 210/540: training loss=1.08', '{"step": 210, "train_loss": 1.0823923349380493, "total_steps": 540, "tokens_per_second": 289.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-YDocp5AlFpqqNMIChz2EzaF6', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 218, 1, 'step:211', '2026-11-29 01:52:55.7957+00', 'info', 'metrics', 'Step 211/540: training loss=1.36', '{"step": 211, "train_loss": 1.3643527030944824, "total_steps": 540, "tokens_per_second": 290.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-R8iFy4fKBkcux6awPzoTAv5s', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 219, 1, 'step:212', '2026-11-29 01:52:55.795722+00', 'info', 'metrics', 'Step 212/540: training loss=1.07', '{"step": 212, "train_loss": 1.0720126628875732, "total_steps": 540, "tokens_per_second": 289.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-zmVU3E7mQKuwuHgYOLWnjFNR', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 220, 1, 'step:213', '2026-11-29 01:52:55.795735+00', 'info', 'metrics', 'Step 213/540: training loss=1.05', '{"step": 213, "train_loss": 1.0513036251068115, "total_steps": 540, "tokens_per_second": 290.4, "train_mean_token_accuracy": 1.0}'),
	('ftevent-m2GR8Fi0gu0w1WEyhfHLQBfX', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 221, 1, 'step:214', '2026-11-29 01:52:55.795748+00', 'info', 'metrics', 'Step 214/540: training loss=0.76', '{"step": 214, "train_loss": 0.7557629942893982, "total_steps": 540, "tokens_per_second": 290.8, "train_mean_token_accuracy": 1.0}'),
	('ftevent-tKCU3D54NMMhkdp4hJmFJ6JG', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 222, 1, 'step:215', '2026-11-29 01:52:55.79576+00', 'info', 'metrics', 'Step 215/540: training loss=0.52', '{"step": 215, "train_loss": 0.5228168964385986, "total_steps": 540, "tokens_per_second": 291.3, "train_mean_token_accuracy": 1.0}'),
	('ftevent-XuuxwVPtIu6eQDuDI7joc31z', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 223, 1, 'step:216', '2026-11-29 01:52:55.801839+00', 'info', 'metrics', 'Step 216/540: training loss=1.00, validation loss=0.73', '{"step": 216, "train_loss": 0.9962401390075684, "valid_loss": 0.7302358746528625, "total_steps": 540, "tokens_per_second": 291.2, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 1.0}'),
	('ftevent-OZdMhziyjmbYq2IMjthgE9CV', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 224, 1, 'step:217', '2026-11-29 01:52:55.801957+00', 'info', 'metrics', 'Step 217/540: training loss=0.75', '{"step": 217, "train_loss": 0.7469069957733154, "total_steps": 540, "tokens_per_second": 291.7, "train_mean_token_accuracy": 1.0}'),
	('ftevent-fJPaWQuwxfmczivuPhNfNSxm', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 225, 1, 'step:218', '2026-11-29 01:52:55.801997+00', 'info', 'metrics', 'Step 218/540: training loss=0.96', '{"step": 218, "train_loss": 0.9591654539108276, "total_steps": 540, "tokens_per_second": 291.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-HjZXqlzlCddCbEYhZAtdU5dj', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 226, 1, 'step:219', '2026-11-29 01:52:55.802013+00', 'info', 'metrics', 'Step 219/540: training loss=1.84', '{"step": 219, "train_loss": 1.8361376523971558, "total_steps": 540, "tokens_per_second": 292.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-vznv6zuAqNdKpaUqFhpuaqJz', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 227, 1, 'step:220', '2026-11-29 01:52:55.802028+00', 'info', 'metrics', 'Step 220/540: training loss=0.68', '{"step": 220, "train_loss": 0.6818593740463257, "total_steps": 540, "tokens_per_second": 292.6, "train_mean_token_accuracy": 1.0}'),
	('ftevent-PQFnljSLuYoKJAMP8msbooPU', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 228, 1, 'step:221', '2026-11-29 01:52:55.802045+00', 'info', 'metrics', 'Step 221/540: training loss=0.83', '{"step": 221, "train_loss": 0.8276931047439575, "total_steps": 540, "tokens_per_second": 293.0, "train_mean_token_accuracy": 1.0}'),
	('ftevent-7jqG7hmF3xZyW8TIV1LeUf9L', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 229, 1, 'step:222', '2026-11-29 01:52:55.802058+00', 'info', 'metrics', 'Step 222/540: training loss=0.87', '{"step": 222, "train_loss": 0.8681076169013977, "total_steps": 540, "tokens_per_second": 293.3, "train_mean_token_accuracy": 1.0}'),
	('ftevent-sIUcA2ODESR2IroGAGfGtgcA', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 230, 1, 'step:223', '2026-11-29 01:52:55.802074+00', 'info', 'metrics', 'Step 223/540: training loss=1.83', '{"step": 223, "train_loss": 1.83484947681427, "total_steps": 540, "tokens_per_second": 292.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-YHko25MGEyJaB0b9LEqhhB44', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 231, 1, 'step:224', '2026-11-29 01:52:55.80209+00', 'info', 'metrics', 'Step 224/540: training loss=1.29', '{"step": 224, "train_loss": 1.2926377058029175, "total_steps": 540, "tokens_per_second": 293.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-ojludwbAcBm1kbosr4Qghhkf', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 232, 1, 'step:225', '2026-11-29 01:52:55.802103+00', 'info', 'metrics', 'Step 225/540: training loss=1.91', '{"step": 225, "train_loss": 1.9080028533935547, "total_steps": 540, "tokens_per_second": 293.0, "train_mean_token_accuracy": 0.0}'),
	('ftevent-TBqHVDpsSAn0YWjnU0bfEJZ4', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 233, 1, 'step:226', '2026-11-29 01:52:55.802118+00', 'info', 'metrics', 'Step 226/540: training loss=0.41', '{"step": 226, "train_loss": 0.41155537962913513, "total_steps": 540, "tokens_per_second": 292.5, "train_mean_token_accuracy": 1.0}'),
	('ftevent-7ABNipIP3ByBv07Z4tqogYcI', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 234, 1, 'step:227', '2026-11-29 01:52:55.802131+00', 'info', 'metrics', 'Step 227/540: training loss=0.99', '{"step": 227, "train_loss": 0.9885454177856445, "total_steps": 540, "tokens_per_second": 291.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-9esovlTltSNV12jaPQStJ7YF', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 235, 1, 'step:228', '2026-11-29 01:52:55.802144+00', 'info', 'metrics', 'Step 228/540: training loss=0.99', '{"step": 228, "train_loss": 0.9897486567497253, "total_steps": 540, "tokens_per_second": 291.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-tX2ElGACadhwDd6EDBB1cjmA', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 236, 1, 'step:229', '2026-11-29 01:52:55.802157+00', 'info', 'metrics', 'Step 229/540: training loss=1.64', '{"step": 229, "train_loss": 1.6365716457366943, "total_steps": 540, "tokens_per_second": 291.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-OGR9Q0nv7gmvnxWuQ0Ztmhqg', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 237, 1, 'step:230', '2026-11-29 01:52:55.802173+00', 'info', 'metrics', 'Step 230/540: training loss=0.98', '{"step": 230, "train_loss": 0.978814959526062, "total_steps": 540, "tokens_per_second": 292.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-BRrypnpjrnIKrzucjan7cTNP', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 238, 1, 'step:231', '2026-11-29 01:52:55.802244+00', 'info', 'metrics', 'Step 231/540: training loss=2.05', '{"step": 231, "train_loss": 2.0509915351867676, "total_steps": 540, "tokens_per_second": 291.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-JaqWcT0BVzk0tHvM8FTa827Z', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 239, 1, 'step:232', '2026-11-29 01:52:55.802257+00', 'info', 'metrics', 'Step 232/540: training loss=0.38', '{"step": 232, "train_loss": 0.3846030533313751, "total_steps": 540, "tokens_per_second": 292.3, "train_mean_token_accuracy": 1.0}'),
	('ftevent-nUBmDhXtDikSQgZZSwypeGec', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 240, 1, 'step:233', '2026-11-29 01:52:55.802271+00', 'info', 'metrics', 'Step 233/540: training loss=0.91', '{"step": 233, "train_loss": 0.914154589176178, "total_steps": 540, "tokens_per_second": 292.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-RwbCvwsteZsp0d7oBADZ8Erq', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 241, 1, 'step:234', '2026-11-29 01:52:55.802285+00', 'info', 'metrics', 'Step 234/540: training loss=1.89', '{"step": 234, "train_loss": 1.8852193355560303, "total_steps": 540, "tokens_per_second": 292.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-R7yC1Ut7PS8zuxMSknz8vuK6', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 242, 1, 'step:235', '2026-11-29 01:52:55.802299+00', 'info', 'metrics', 'Step 235/540: training loss=0.89', '{"step": 235, "train_loss": 0.8916119337081909, "total_steps": 540, "tokens_per_second": 291.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-hORCsnbFkLilTd0CDjB2JMfE', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 243, 1, 'step:236', '2026-11-29 01:52:55.802314+00', 'info', 'metrics', 'Step 236/540: training loss=0.72', '{"step": 236, "train_loss": 0.7202875018119812, "total_steps": 540, "tokens_per_second": 291.0, "train_mean_token_accuracy": 1.0}'),
	('ftevent-26BU4FgbRXfTVtrHJGTXZuaM', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 244, 1, 'step:237', '2026-11-29 01:52:55.802327+00', 'info', 'metrics', 'Step 237/540: training loss=0.44', '{"step": 237, "train_loss": 0.4395540654659271, "total_steps": 540, "tokens_per_second": 290.6, "train_mean_token_accuracy": 1.0}'),
	('ftevent-PBtEU86xY4JuITut7KreNUJn', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 245, 1, 'step:238', '2026-11-29 01:52:55.80234+00', 'info', 'metrics', 'Step 238/540: training loss=1.22', '{"step": 238, "train_loss": 1.2176382541656494, "total_steps": 540, "tokens_per_second": 290.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-RDzRrXEpYiqnxbmVp9OgXnB2', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 246, 1, 'step:239', '2026-11-29 01:52:55.802372+00', 'info', 'metrics', 'Step 239/540: training loss=0.74', '{"step": 239, "train_loss": 0.7428417205810547, "total_steps": 540, "tokens_per_second": 290.9, "train_mean_token_accuracy": 1.0}'),
	('ftevent-eb7rSQQbVjFSreCAMwv6r1eR', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 247, 1, 'step:240', '2026-11-29 01:52:55.802385+00', 'info', 'metrics', 'Step 240/540: training loss=1.54', '{"step": 240, "train_loss": 1.5438456535339355, "total_steps": 540, "tokens_per_second": 290.9, "train_mean_token_accuracy": 0.0}'),
	('ftevent-uoi4RPTI5EdqK2Q5Xyf0jxPP', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 248, 1, 'step:241', '2026-11-29 01:52:55.802398+00', 'info', 'metrics', 'Step 241/540: training loss=1.00', '{"step": 241, "train_loss": 1.0001291036605835, "total_steps": 540, "tokens_per_second": 290.6, "train_mean_token_accuracy": 1.0}'),
	('ftevent-qM9sbO4bfGIWccvVvOPhwDZy', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 249, 1, 'step:242', '2026-11-29 01:52:55.802414+00', 'info', 'metrics', 'Step 242/540: training loss=0.79', '{"step": 242, "train_loss": 0.7932406067848206, "total_steps": 540, "tokens_per_second": 290.2, "train_mean_token_accuracy": 1.0}'),
	('ftevent-t2mh56mFUiR4w3dYsiKttRiZ', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 250, 1, 'step:243', '2026-11-29 01:52:55.802427+00', 'info', 'metrics', 'Step 243/540: training loss=0.89, validation loss=0.93', '{"step": 243, "train_loss": 0.8877298831939697, "valid_loss": 0.9260213375091553, "total_steps": 540, "tokens_per_second": 290.5, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0}'),
	('ftevent-KecYGflwEXwzVrtEGN6GTm18', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 251, 1, 'step:244', '2026-11-29 01:52:55.80244+00', 'info', 'metrics', 'Step 244/540: training loss=0.79', '{"step": 244, "train_loss": 0.7889264225959778, "total_steps": 540, "tokens_per_second": 290.9, "train_mean_token_accuracy": 1.0}'),
	('ftevent-PCvPySOWBfifG3pqsYKxeyqB', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 252, 1, 'step:245', '2026-11-29 01:52:55.802454+00', 'info', 'metrics', 'Step 245/540: training loss=1.10', '{"step": 245, "train_loss": 1.1025593280792236, "total_steps": 540, "tokens_per_second": 291.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-Ma2VR4uvR5OFbhld1BJnhKkh', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 253, 1, 'step:246', '2026-11-29 01:52:55.802466+00', 'info', 'metrics', 'Step 246/540: training loss=1.53', '{"step": 246, "train_loss": 1.5270264148712158, "total_steps": 540, "tokens_per_second": 291.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-HoPjqKdTeUWA9dCzLIEELJ4g', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 254, 1, 'step:247', '2026-11-29 01:52:55.802479+00', 'info', 'metrics', 'Step 247/540: training loss=2.29', '{"step": 247, "train_loss": 2.2877275943756104, "total_steps": 540, "tokens_per_second": 291.8, "train_mean_token_accuracy": 0.0}'),
	('ftevent-wWju6ukMw9E1rtqxI4tnu0BF', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 255, 1, 'step:248', '2026-11-29 01:52:55.802493+00', 'info', 'metrics', 'Step 248/540: training loss=0.93', '{"step": 248, "train_loss": 0.9261721968650818, "total_steps": 540, "tokens_per_second": 292.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-MlyP95tBsxG1ehbknWMP84S9', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 256, 1, 'step:249', '2026-11-29 01:52:55.802506+00', 'info', 'metrics', 'Step 249/540: training loss=0.74', '{"step": 249, "train_loss": 0.7422631978988647, "total_steps": 540, "tokens_per_second": 292.7, "train_mean_token_accuracy": 1.0}'),
	('ftevent-m9kEGYwT5nP69LElI6z3bbv3', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 257, 1, 'step:250', '2026-11-29 01:52:55.802519+00', 'info', 'metrics', 'Step 250/540: training loss=0.86', '{"step": 250, "train_loss": 0.8625114560127258, "total_steps": 540, "tokens_per_second": 292.7, "train_mean_token_accuracy": 1.0}'),
	('ftevent-aw9oqcUC3hUZnaHEqJG09qTs', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 258, 1, 'step:251', '2026-11-29 01:52:55.802533+00', 'info', 'metrics', 'Step 251/540: training loss=0.94', '{"step": 251, "train_loss": 0.9372981786727905, "total_steps": 540, "tokens_per_second": 293.0, "train_mean_token_accuracy": 0.0}'),
	('ftevent-fzQUhIZbeUuABOJtxrjl43kw', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 259, 1, 'step:252', '2026-11-29 01:52:55.802546+00', 'info', 'metrics', 'Step 252/540: training loss=1.07', '{"step": 252, "train_loss": 1.0723148584365845, "total_steps": 540, "tokens_per_second": 293.4, "train_mean_token_accuracy": 1.0}'),
	('ftevent-zzBg5tpnTUmlW8SHeoGkFXaj', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 260, 1, 'checkpoint:180', '2026-11-29 01:52:55.941928+00', 'info', 'message', 'Checkpoint created at step 180 with Snapshot ID: ft:tiny-encoder:luthier::u1Ipid8n:ckpt-step-180', '{}'),
	('ftevent-udG4OF7lauIht9b1aI0SWU5i', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 261, 1, 'pausing:2', '2026-11-29 01:52:56.250204+00', 'info', 'message', 'The job is being paused', '{}'),
	('ftevent-n8ag1lcEMPQndl9XQzsSvkMn', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 262, 1, 'step:253', '2026-11-29 01:52:56.86963+00', 'info', 'metrics', 'Step 253/540: training loss=0.49', '{"step": 253, "train_loss": 0.48671281337738037, "total_steps": 540, "tokens_per_second": 293.3, "train_mean_token_accuracy": 1.0}'),
	('ftevent-HmMcAC0Xann7Sx89x7XmsM2Q', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 263, 1, 'step:254', '2026-11-29 01:52:56.869772+00', 'info', 'metrics', 'Step 254/540: training loss=0.92', '{"step": 254, "train_loss": 0.9247879981994629, "total_steps": 540, "tokens_per_second": 293.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-G2tia1lhORkMc22KcC3UzAVE', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 264, 1, 'step:255', '2026-11-29 01:52:56.869812+00', 'info', 'metrics', 'Step 255/540: training loss=0.93', '{"step": 255, "train_loss": 0.9293531775474548, "total_steps": 540, "tokens_per_second": 294.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-BqS7t76gs3qLDJsztDpQWSsF', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 265, 1, 'step:256', '2026-11-29 01:52:56.869829+00', 'info', 'metrics', 'Step 256/540: training loss=2.35', '{"step": 256, "train_loss": 2.3548061847686768, "total_steps": 540, "tokens_per_second": 294.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-y8aHWiTB291AHWcHED20btjx', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 266, 1, 'step:257', '2026-11-29 01:52:56.869861+00', 'info', 'metrics', 'Step 257/540: training loss=1.02', '{"step": 257, "train_loss": 1.0240190029144287, "total_steps": 540, "tokens_per_second": 293.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-8J4AZuxxMOpvPvFMWLOqFUEr', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 267, 1, 'step:258', '2026-11-29 01:52:56.869878+00', 'info', 'metrics', 'Step 258/540: training loss=1.26', '{"step": 258, "train_loss": 1.258926510810852, "total_steps": 540, "tokens_per_second": 292.6, "train_mean_token_accuracy": 0.0}'),
	('ftevent-ILy6kXUm2eT4mU7TNgQqhW2e', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 268, 1, 'step:259', '2026-11-29 01:52:56.869892+00', 'info', 'metrics', 'Step 259/540: training loss=0.86', '{"step": 259, "train_loss": 0.8640228509902954, "total_steps": 540, "tokens_per_second": 292.7, "train_mean_token_accuracy": 0.0}'),
	('ftevent-cmLmBMaUrJmOyzhyJOiCfTm0', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 269, 1, 'step:260', '2026-11-29 01:52:56.869906+00', 'info', 'metrics', 'Step 260/540: training loss=0.41', '{"step": 260, "train_loss": 0.41377922892570496, "total_steps": 540, "tokens_per_second": 292.9, "train_mean_token_accuracy": 1.0}'),
	('ftevent-iClk9spAokwYnweQbIRKrAR9', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 270, 1, 'step:261', '2026-11-29 01:52:56.869922+00', 'info', 'metrics', 'Step 261/540: training loss=0.87', '{"step": 261, "train_loss": 0.8655521273612976, "total_steps": 540, "tokens_per_second": 291.1, "train_mean_token_accuracy": 1.0}'),
	('ftevent-Ob3bRD38fDbqbA1CVfciJk0w', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 271, 1, 'step:262', '2026-11-29 01:52:56.869935+00', 'info', 'metrics', 'Step 262/540: training loss=0.85', '{"step": 262, "train_loss": 0.8533820509910583, "total_steps": 540, "tokens_per_second": 291.2, "train_mean_token_accuracy": 0.0}'),
	('ftevent-58snhmkbLKcWlARxYWLWxgQf', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 272, 1, 'step:263', '2026-11-29 01:52:56.86995+00', 'info', 'metrics', 'Step 263/540: training loss=0.94', '{"step": 263, "train_loss": 0.9374110698699951, "total_steps": 540, "tokens_per_second": 290.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-IbBTXV84roCFdZvaBEBcpnQf', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 273, 1, 'step:264', '2026-11-29 01:52:56.882006+00', 'info', 'metrics', 'Step 264/540: training loss=0.83', '{"step": 264, "train_loss": 0.826651930809021, "total_steps": 540, "tokens_per_second": 290.0, "train_mean_token_accuracy": 0.0}'),
	('ftevent-XfRiIvUT26a47WRtGya6S0YS', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 274, 1, 'step:265', '2026-11-29 01:52:56.882092+00', 'info', 'metrics', 'Step 265/540: training loss=0.76', '{"step": 265, "train_loss": 0.7573601603507996, "total_steps": 540, "tokens_per_second": 289.7, "train_mean_token_accuracy": 1.0}'),
	('ftevent-5DYHdLBMsPdeDENdSQelHUJC', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 275, 1, 'step:266', '2026-11-29 01:52:56.882116+00', 'info', 'metrics', 'Step 266/540: training loss=0.78', '{"step": 266, "train_loss": 0.7771946787834167, "total_steps": 540, "tokens_per_second": 289.7, "train_mean_token_accuracy": 1.0}'),
	('ftevent-U4DYWYMbxnZj43PJTtYG1kLe', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 276, 1, 'step:267', '2026-11-29 01:52:56.882146+00', 'info', 'metrics', 'Step 267/540: training loss=1.35', '{"step": 267, "train_loss": 1.3514423370361328, "total_steps": 540, "tokens_per_second": 289.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-QsCcAEuKIfFAVosCJEZRQq7p', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 277, 1, 'step:268', '2026-11-29 01:52:56.882294+00', 'info', 'metrics', 'Step 268/540: training loss=0.77', '{"step": 268, "train_loss": 0.7697982788085938, "total_steps": 540, "tokens_per_second": 289.4, "train_mean_token_accuracy": 1.0}'),
	('ftevent-CHgvMBWzFxU6bBioMUgJgnnX', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 278, 1, 'step:269', '2026-11-29 01:52:56.882315+00', 'info', 'metrics', 'Step 269/540: training loss=1.07', '{"step": 269, "train_loss": 1.0724388360977173, "total_steps": 540, "tokens_per_second": 289.0, "train_mean_token_accuracy": 0.0}'),
	('ftevent-uc9iyf03XNPzqxT5INPrfFJC', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 279, 1, 'step:270', '2026-11-29 01:52:56.882331+00', 'info', 'metrics', 'Step 270/540: training loss=1.77, validation loss=0.75', '{"step": 270, "train_loss": 1.7712397575378418, "valid_loss": 0.7546234726905823, "total_steps": 540, "tokens_per_second": 288.6, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 1.0}');
INSERT INTO public.job_events VALUES
	('ftevent-KBdbb1SNy7DlXwBgH0p59PuJ', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 280, 1, 'step:271', '2026-11-29 01:52:56.882346+00', 'info', 'metrics', 'Step 271/540: training loss=0.82', '{"step": 271, "train_loss": 0.8203388452529907, "total_steps": 540, "tokens_per_second": 289.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-zicgLtW9cZQaknKPJGmesNfM', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 281, 1, 'step:272', '2026-11-29 01:52:56.882397+00', 'info', 'metrics', 'Step 272/540: training loss=0.99', '{"step": 272, "train_loss": 0.9868134260177612, "total_steps": 540, "tokens_per_second": 289.1, "train_mean_token_accuracy": 1.0}'),
	('ftevent-z9UdR0m4fDcw5S6yEgYN9fdA', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 282, 1, 'step:273', '2026-11-29 01:52:56.882412+00', 'info', 'metrics', 'Step 273/540: training loss=0.73', '{"step": 273, "train_loss": 0.7308095693588257, "total_steps": 540, "tokens_per_second": 289.1, "train_mean_token_accuracy": 1.0}'),
	('ftevent-XKZ6m8LJBWLrPJwtfYFeLUw0', 'ftjob-Jmdr7L9KEv2zZtqNhykfjPih', 1, 0, 'created', '2026-11-29 01:53:00.274592+00', 'info', 'message', 'Created fine-tuning job: ftjob-Jmdr7L9KEv2zZtqNhykfjPih', '{}'),
	('ftevent-bEeAwWAS5X1YRZN8QQYN59QV', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 283, 1, 'step:274', '2026-11-29 01:52:56.882429+00', 'info', 'metrics', 'Step 274/540: training loss=1.18', '{"step": 274, "train_loss": 1.1791926622390747, "total_steps": 540, "tokens_per_second": 289.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-lUy80uXaAGCOzPtm2ZnQfCO9', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 284, 1, 'step:275', '2026-11-29 01:52:56.882468+00', 'info', 'metrics', 'Step 275/540: training loss=0.84', '{"step": 275, "train_loss": 0.8367902040481567, "total_steps": 540, "tokens_per_second": 289.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-Gy4IBrjUaDJvINwsmEly5RAn', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 285, 1, 'step:276', '2026-11-29 01:52:56.882483+00', 'info', 'metrics', 'Step 276/540: training loss=0.81', '{"step": 276, "train_loss": 0.8092511296272278, "total_steps": 540, "tokens_per_second": 289.4, "train_mean_token_accuracy": 0.0}'),
	('ftevent-CcWgroCqKXvrJEDABNZmMDl1', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 286, 1, 'step:277', '2026-11-29 01:52:56.882496+00', 'info', 'metrics', 'Step 277/540: training loss=0.83', '{"step": 277, "train_loss": 0.8313586115837097, "total_steps": 540, "tokens_per_second": 289.0, "train_mean_token_accuracy": 1.0}'),
	('ftevent-VeUbJHfMPWsdgECkXIi92wQh', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 287, 1, 'step:278', '2026-11-29 01:52:56.88252+00', 'info', 'metrics', 'Step 278/540: training loss=0.80', '{"step": 278, "train_loss": 0.798888623714447, "total_steps": 540, "tokens_per_second": 289.0, "train_mean_token_accuracy": 0.0}'),
	('ftevent-xm5ssvLP65yatO5sxDpNzifH', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 288, 1, 'step:279', '2026-11-29 01:52:56.882541+00', 'info', 'metrics', 'Step 279/540: training loss=0.78', '{"step": 279, "train_loss": 0.7828935384750366, "total_steps": 540, "tokens_per_second": 289.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-Zb1l6kytQrkRLDbtmUF6BdtA', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 289, 1, 'step:280', '2026-11-29 01:52:56.882559+00', 'info', 'metrics', 'Step 280/540: training loss=1.02', '{"step": 280, "train_loss": 1.0210094451904297, "total_steps": 540, "tokens_per_second": 289.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-mhbrwn8uBAFr3ioIIGCYK51T', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 290, 1, 'step:281', '2026-11-29 01:52:56.882572+00', 'info', 'metrics', 'Step 281/540: training loss=0.75', '{"step": 281, "train_loss": 0.750948429107666, "total_steps": 540, "tokens_per_second": 288.7, "train_mean_token_accuracy": 1.0}'),
	('ftevent-KYUceCdXideJ3ApNzqrcYNIx', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 291, 1, 'step:282', '2026-11-29 01:52:56.882585+00', 'info', 'metrics', 'Step 282/540: training loss=2.11', '{"step": 282, "train_loss": 2.1097147464752197, "total_steps": 540, "tokens_per_second": 289.0, "train_mean_token_accuracy": 0.0}'),
	('ftevent-TdE1GEpCACpX1e3Y92TI48YW', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 292, 1, 'step:283', '2026-11-29 01:52:56.882598+00', 'info', 'metrics', 'Step 283/540: training loss=0.93', '{"step": 283, "train_loss": 0.934455156326294, "total_steps": 540, "tokens_per_second": 289.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-ZE6s5AcFxH8DxVCNCUeOxgoe', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 293, 1, 'step:284', '2026-11-29 01:52:56.882611+00', 'info', 'metrics', 'Step 284/540: training loss=0.92', '{"step": 284, "train_loss": 0.9187381863594055, "total_steps": 540, "tokens_per_second": 289.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-mhDIWfUuyFs7sj8oMztOnwnV', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 294, 1, 'step:285', '2026-11-29 01:52:56.882623+00', 'info', 'metrics', 'Step 285/540: training loss=0.91', '{"step": 285, "train_loss": 0.9055249691009521, "total_steps": 540, "tokens_per_second": 288.5, "train_mean_token_accuracy": 0.0}'),
	('ftevent-XXCULYFwhUV0YKcfsFbcQkel', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 295, 1, 'step:286', '2026-11-29 01:52:56.882638+00', 'info', 'metrics', 'Step 286/540: training loss=0.94', '{"step": 286, "train_loss": 0.9424241185188293, "total_steps": 540, "tokens_per_second": 289.0, "train_mean_token_accuracy": 0.0}'),
	('ftevent-1q8LeP53fyETQC3rL29IKOOp', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 296, 1, 'step:287', '2026-11-29 01:52:56.882668+00', 'info', 'metrics', 'Step 287/540: training loss=0.89', '{"step": 287, "train_loss": 0.8947880268096924, "total_steps": 540, "tokens_per_second": 289.1, "train_mean_token_accuracy": 0.0}'),
	('ftevent-zSmMQr1ltEyKsDL2DlIjnKkN', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 297, 1, 'step:288', '2026-11-29 01:52:56.882682+00', 'info', 'metrics', 'Step 288/540: training loss=0.72', '{"step": 288, "train_loss": 0.7163226008415222, "total_steps": 540, "tokens_per_second": 288.5, "train_mean_token_accuracy": 1.0}'),
	('ftevent-zccOtmDbSKhMErBCvPjMQvw6', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 298, 1, 'step:289', '2026-11-29 01:52:56.882696+00', 'info', 'metrics', 'Step 289/540: training loss=0.72', '{"step": 289, "train_loss": 0.7174431085586548, "total_steps": 540, "tokens_per_second": 288.4, "train_mean_token_accuracy": 1.0}'),
	('ftevent-diB9keSgn55CC1C197luCcrr', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 299, 1, 'step:290', '2026-11-29 01:52:56.882708+00', 'info', 'metrics', 'Step 290/540: training loss=0.72', '{"step": 290, "train_loss": 0.7225610613822937, "total_steps": 540, "tokens_per_second": 287.8, "train_mean_token_accuracy": 1.0}'),
	('ftevent-EGCtbEUV3k2u8k6y2DMZZ9AJ', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 300, 1, 'step:291', '2026-11-29 01:52:56.88272+00', 'info', 'metrics', 'Step 291/540: training loss=0.71', '{"step": 291, "train_loss": 0.7060295343399048, "total_steps": 540, "tokens_per_second": 287.5, "train_mean_token_accuracy": 1.0}'),
	('ftevent-aOy6XJ29HiYDKrlIDfA4YT9T', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 301, 1, 'step:292', '2026-11-29 01:52:56.882736+00', 'info', 'metrics', 'Step 292/540: training loss=0.84', '{"step": 292, "train_loss": 0.8418214321136475, "total_steps": 540, "tokens_per_second": 287.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-qLDgMdiGvSZWOqptFXNaiVES', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 302, 1, 'step:293', '2026-11-29 01:52:56.882748+00', 'info', 'metrics', 'Step 293/540: training loss=2.48', '{"step": 293, "train_loss": 2.4782769680023193, "total_steps": 540, "tokens_per_second": 287.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-E2bMXkm5phhXjHzXDjbwMT9a', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 303, 1, 'step:294', '2026-11-29 01:52:56.882761+00', 'info', 'metrics', 'Step 294/540: training loss=0.70', '{"step": 294, "train_loss": 0.7015798091888428, "total_steps": 540, "tokens_per_second": 287.2, "train_mean_token_accuracy": 1.0}'),
	('ftevent-0zc7rO9tTQcWf1HmzmvLJhNE', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 304, 1, 'step:295', '2026-11-29 01:52:56.882773+00', 'info', 'metrics', 'Step 295/540: training loss=2.50', '{"step": 295, "train_loss": 2.4988574981689453, "total_steps": 540, "tokens_per_second": 286.3, "train_mean_token_accuracy": 0.0}'),
	('ftevent-J3uKDOkNqW2x2xIUcXhYLCbx', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 305, 1, 'step:296', '2026-11-29 01:52:56.882786+00', 'info', 'metrics', 'Step 296/540: training loss=2.28', '{"step": 296, "train_loss": 2.276771306991577, "total_steps": 540, "tokens_per_second": 285.9, "train_mean_token_accuracy": 0.0}');


--
-- Data for Name: job_leases; Type: TABLE DATA; Schema: public; Owner: -
--



--
-- Data for Name: job_metadata; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.job_metadata VALUES
	('proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'team', 'desk', '2026-11-29 01:50:57.007198+00', 'ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS');


--
-- Data for Name: job_metrics; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.job_metrics VALUES
	('ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 1, 1, '{"train_loss": 5.571794033050537, "valid_loss": 5.563843409220378, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0}'),
	('ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 2, 1, '{"train_loss": 5.556703355577257, "valid_loss": 5.5593217213948565, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0}'),
	('ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 3, 1, '{"train_loss": 5.574444198608399, "valid_loss": 5.554710388183594, "full_valid_loss": 5.554710388183594, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0, "full_valid_mean_token_accuracy": 0.0}'),
	('ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 4, 1, '{"train_loss": 5.5660858154296875, "valid_loss": 5.551524480183919, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0}'),
	('ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 5, 1, '{"train_loss": 5.544676208496094, "valid_loss": 5.550204594930013, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0}'),
	('ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 6, 1, '{"train_loss": 5.5597310066223145, "valid_loss": 5.549119313557942, "full_valid_loss": 5.549119313557942, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0, "full_valid_mean_token_accuracy": 0.0}'),
	('ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 1, 1, '{"train_loss": 1.0981736183166504, "valid_loss": 1.066396713256836, "train_mean_token_accuracy": 0.25, "valid_mean_token_accuracy": 0.5}'),
	('ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 2, 1, '{"train_loss": 1.2069382667541504, "valid_loss": 1.0275206565856934, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0}'),
	('ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 3, 1, '{"train_loss": 1.215530514717102, "valid_loss": 1.1195237636566162, "train_mean_token_accuracy": 0.25, "valid_mean_token_accuracy": 0.25}'),
	('ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 4, 1, '{"train_loss": 1.102514386177063, "valid_loss": 1.138001561164856, "train_mean_token_accuracy": 0.5, "valid_mean_token_accuracy": 0.25}'),
	('ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 5, 1, '{"train_loss": 0.9975455403327942, "valid_loss": 0.7823869585990906, "train_mean_token_accuracy": 0.5, "valid_mean_token_accuracy": 1.0}'),
	('ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 6, 1, '{"train_loss": 1.3694144487380981, "valid_loss": 1.1191399097442627, "valid_roc_auc": 0.7037037037037038, "valid_accuracy": 0.3333333333333333, "valid_f1_macro": 0.16666666666666666, "valid_f1_micro": 0.3333333333333333, "full_valid_loss": 1.124538739522298, "valid_f1_weighted": 0.16666666666666666, "valid_recall_macro": 0.3333333333333333, "valid_recall_micro": 0.3333333333333333, "valid_precision_macro": 0.1111111111111111, "valid_precision_micro": 0.3333333333333333, "valid_recall_weighted": 0.3333333333333333, "valid_precision_weighted": 0.1111111111111111, "train_mean_token_accuracy": 0.25, "valid_mean_token_accuracy": 0.25, "full_valid_mean_token_accuracy": 0.3333333333333333}'),
	('ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 7, 1, '{"train_loss": 1.1035501956939697, "valid_loss": 1.1421204805374146, "train_mean_token_accuracy": 0.25, "valid_mean_token_accuracy": 0.5}'),
	('ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 8, 1, '{"train_loss": 1.0518490076065063, "valid_loss": 0.9377198815345764, "train_mean_token_accuracy": 0.75, "valid_mean_token_accuracy": 1.0}'),
	('ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 9, 1, '{"train_loss": 1.1160227060317993, "valid_loss": 1.0878336429595947, "train_mean_token_accuracy": 0.25, "valid_mean_token_accuracy": 0.25}'),
	('ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 10, 1, '{"train_loss": 1.0888020992279053, "valid_loss": 1.1519190073013306, "train_mean_token_accuracy": 0.25, "valid_mean_token_accuracy": 0.25}'),
	('ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 11, 1, '{"train_loss": 1.1059777736663818, "valid_loss": 0.8582499027252197, "train_mean_token_accuracy": 0.5, "valid_mean_token_accuracy": 1.0}'),
	('ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 12, 1, '{"train_loss": 1.3154100179672241, "valid_loss": 1.0936048030853271, "valid_roc_auc": 0.6851851851851852, "valid_accuracy": 0.3333333333333333, "valid_f1_macro": 0.16666666666666666, "valid_f1_micro": 0.3333333333333333, "full_valid_loss": 1.0910815132988825, "valid_f1_weighted": 0.16666666666666666, "valid_recall_macro": 0.3333333333333333, "valid_recall_micro": 0.3333333333333333, "valid_precision_macro": 0.1111111111111111, "valid_precision_micro": 0.3333333333333333, "valid_recall_weighted": 0.3333333333333333, "valid_precision_weighted": 0.1111111111111111, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.25, "full_valid_mean_token_accuracy": 0.3333333333333333}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 1, 1, '{"train_loss": 5.568351745605469, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 2, 1, '{"train_loss": 5.567756652832031, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 3, 1, '{"train_loss": 5.560469627380371, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 4, 1, '{"train_loss": 5.561888694763184, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 5, 1, '{"train_loss": 5.574724197387695, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 6, 1, '{"train_loss": 5.577243804931641, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 7, 1, '{"train_loss": 5.537697474161784, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 8, 1, '{"train_loss": 5.578986485799153, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 9, 1, '{"train_loss": 5.544947147369385, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 10, 1, '{"train_loss": 5.527514934539795, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 11, 1, '{"train_loss": 5.542701721191406, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 12, 1, '{"train_loss": 5.566630681355794, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 13, 1, '{"train_loss": 5.548877716064453, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 14, 1, '{"train_loss": 5.526877085367839, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 15, 1, '{"train_loss": 5.539466381072998, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 16, 1, '{"train_loss": 5.533679008483887, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 17, 1, '{"train_loss": 5.538321812947591, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 18, 1, '{"train_loss": 5.493504524230957, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 19, 1, '{"train_loss": 5.550862630208333, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 20, 1, '{"train_loss": 5.525511741638184, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 21, 1, '{"train_loss": 5.506644248962402, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 22, 1, '{"train_loss": 5.552286783854167, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 23, 1, '{"train_loss": 5.514276504516602, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 24, 1, '{"train_loss": 5.521374384562175, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 25, 1, '{"train_loss": 5.5386152267456055, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 26, 1, '{"train_loss": 5.5369307200113935, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 27, 1, '{"train_loss": 5.513512134552002, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 28, 1, '{"train_loss": 5.518095970153809, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 29, 1, '{"train_loss": 5.566883563995361, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 30, 1, '{"train_loss": 5.539165496826172, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 31, 1, '{"train_loss": 5.544765472412109, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 32, 1, '{"train_loss": 5.5174031257629395, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 33, 1, '{"train_loss": 5.497291564941406, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 34, 1, '{"train_loss": 5.545643329620361, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 35, 1, '{"train_loss": 5.5113091468811035, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 36, 1, '{"train_loss": 5.534915924072266, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 37, 1, '{"train_loss": 5.5249379475911455, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 38, 1, '{"train_loss": 5.49867312113444, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 39, 1, '{"train_loss": 5.535501003265381, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 40, 1, '{"train_loss": 5.509194056193034, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 41, 1, '{"train_loss": 5.549932479858398, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 42, 1, '{"train_loss": 5.531404495239258, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 43, 1, '{"train_loss": 5.553244272867839, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 44, 1, '{"train_loss": 5.525600433349609, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 45, 1, '{"train_loss": 5.5292008717854815, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 46, 1, '{"train_loss": 5.542275746663411, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 47, 1, '{"train_loss": 5.512764930725098, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 48, 1, '{"train_loss": 5.554076194763184, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 49, 1, '{"train_loss": 5.532562255859375, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 50, 1, '{"train_loss": 5.516922473907471, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 51, 1, '{"train_loss": 5.507180531819661, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 52, 1, '{"train_loss": 5.537602424621582, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 53, 1, '{"train_loss": 5.504393259684245, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 54, 1, '{"train_loss": 5.501340866088867, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 55, 1, '{"train_loss": 5.540037155151367, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 56, 1, '{"train_loss": 5.539079030354817, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 57, 1, '{"train_loss": 5.513662974039714, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 58, 1, '{"train_loss": 5.516647974650065, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 59, 1, '{"train_loss": 5.5943864186604815, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 60, 1, '{"train_loss": 5.550617853800456, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 61, 1, '{"train_loss": 5.5599751472473145, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 62, 1, '{"train_loss": 5.532522201538086, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 63, 1, '{"train_loss": 5.518967151641846, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 64, 1, '{"train_loss": 5.5124969482421875, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 65, 1, '{"train_loss": 5.510969638824463, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 66, 1, '{"train_loss": 5.496320724487305, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 67, 1, '{"train_loss": 5.4989213943481445, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 68, 1, '{"train_loss": 5.524588902791341, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 69, 1, '{"train_loss": 5.5443471272786455, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 70, 1, '{"train_loss": 5.537981669108073, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 71, 1, '{"train_loss": 5.549953460693359, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 72, 1, '{"train_loss": 5.524064381917317, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 73, 1, '{"train_loss": 5.5282440185546875, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 74, 1, '{"train_loss": 5.504749774932861, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 75, 1, '{"train_loss": 5.508747736612956, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 76, 1, '{"train_loss": 5.52277135848999, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 77, 1, '{"train_loss": 5.495937347412109, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 78, 1, '{"train_loss": 5.503696441650391, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 79, 1, '{"train_loss": 5.530937830607097, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 80, 1, '{"train_loss": 5.528494834899902, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 81, 1, '{"train_loss": 5.510042667388916, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 82, 1, '{"train_loss": 5.546442985534668, "train_mean_token_accuracy": 0.0}');
INSERT INTO public.job_metrics VALUES
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 83, 1, '{"train_loss": 5.570345560709636, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 84, 1, '{"train_loss": 5.5243730545043945, "train_mean_token_accuracy": 0.0}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 85, 1, '{"train_loss": 5.502532958984375, "train_mean_token_accuracy": 0.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 1, 1, '{"train_loss": 0.6931471824645996, "train_reward_margin": 0.0, "train_reward_accuracy": 0.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 2, 1, '{"train_loss": 0.6931331753730774, "train_reward_margin": 0.00002803802453854587, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 3, 1, '{"train_loss": 0.6930848956108093, "train_reward_margin": 0.00012454987154342234, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 4, 1, '{"train_loss": 0.6930395364761353, "train_reward_margin": 0.0002153396635549143, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 5, 1, '{"train_loss": 0.6930367350578308, "train_reward_margin": 0.0002208709775004536, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 6, 1, '{"train_loss": 0.6929528713226318, "train_reward_margin": 0.0003887176571879536, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 7, 1, '{"train_loss": 0.6929014325141907, "train_reward_margin": 0.0004915237659588456, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 8, 1, '{"train_loss": 0.6927815079689026, "train_reward_margin": 0.0007314682006835938, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 9, 1, '{"train_loss": 0.69266676902771, "train_reward_margin": 0.0009611130226403475, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 10, 1, '{"train_loss": 0.6924856305122375, "train_reward_margin": 0.0013235092628747225, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 11, 1, '{"train_loss": 0.6923622488975525, "train_reward_margin": 0.0015705109108239412, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 12, 1, '{"train_loss": 0.6921263933181763, "train_reward_margin": 0.002042579697445035, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 13, 1, '{"train_loss": 0.6919803023338318, "train_reward_margin": 0.002335167024284601, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 14, 1, '{"train_loss": 0.6917367577552795, "train_reward_margin": 0.0028228759765625, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 15, 1, '{"train_loss": 0.6915540099143982, "train_reward_margin": 0.0031888962257653475, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 16, 1, '{"train_loss": 0.6913458704948425, "train_reward_margin": 0.0036058425903320312, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 17, 1, '{"train_loss": 0.69117671251297, "train_reward_margin": 0.003944778349250555, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 18, 1, '{"train_loss": 0.6908572912216187, "train_reward_margin": 0.004585075192153454, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 19, 1, '{"train_loss": 0.6906964778900146, "train_reward_margin": 0.004907417111098766, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 20, 1, '{"train_loss": 0.6904452443122864, "train_reward_margin": 0.0054111480712890625, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 21, 1, '{"train_loss": 0.6902620196342468, "train_reward_margin": 0.005778694525361061, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 22, 1, '{"train_loss": 0.6899814009666443, "train_reward_margin": 0.0063415528275072575, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 23, 1, '{"train_loss": 0.6898103356361389, "train_reward_margin": 0.0066848755814135075, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 24, 1, '{"train_loss": 0.6895558834075928, "train_reward_margin": 0.007195472717285156, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 25, 1, '{"train_loss": 0.6893290281295776, "train_reward_margin": 0.007650947663933039, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 26, 1, '{"train_loss": 0.6891565322875977, "train_reward_margin": 0.007997322827577591, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 27, 1, '{"train_loss": 0.688809871673584, "train_reward_margin": 0.008693504147231579, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 28, 1, '{"train_loss": 0.6884445548057556, "train_reward_margin": 0.009427452459931374, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 29, 1, '{"train_loss": 0.688329815864563, "train_reward_margin": 0.00965805072337389, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 30, 1, '{"train_loss": 0.6878824234008789, "train_reward_margin": 0.010557365603744984, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 31, 1, '{"train_loss": 0.6877424120903015, "train_reward_margin": 0.010838890448212624, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 32, 1, '{"train_loss": 0.6870890259742737, "train_reward_margin": 0.012153243646025658, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 33, 1, '{"train_loss": 0.6867333650588989, "train_reward_margin": 0.012869072146713734, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 34, 1, '{"train_loss": 0.6862125396728516, "train_reward_margin": 0.013917732052505016, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 35, 1, '{"train_loss": 0.6857267022132874, "train_reward_margin": 0.014896392822265625, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 36, 1, '{"train_loss": 0.6855602264404297, "train_reward_margin": 0.015231895260512829, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 37, 1, '{"train_loss": 0.684885561466217, "train_reward_margin": 0.016592025756835938, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 38, 1, '{"train_loss": 0.6841468214988708, "train_reward_margin": 0.018082428723573685, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 39, 1, '{"train_loss": 0.6839666366577148, "train_reward_margin": 0.01844615861773491, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 40, 1, '{"train_loss": 0.6829633116722107, "train_reward_margin": 0.02047252655029297, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 41, 1, '{"train_loss": 0.6826463937759399, "train_reward_margin": 0.021113013848662376, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 42, 1, '{"train_loss": 0.6820923089981079, "train_reward_margin": 0.0222333911806345, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 43, 1, '{"train_loss": 0.6816209554672241, "train_reward_margin": 0.023186875507235527, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 44, 1, '{"train_loss": 0.6816991567611694, "train_reward_margin": 0.02302856370806694, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 45, 1, '{"train_loss": 0.6812670826911926, "train_reward_margin": 0.02390308305621147, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 46, 1, '{"train_loss": 0.6811680197715759, "train_reward_margin": 0.024103546515107155, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 47, 1, '{"train_loss": 0.6807089447975159, "train_reward_margin": 0.025033187121152878, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 48, 1, '{"train_loss": 0.68035489320755, "train_reward_margin": 0.025750352069735527, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 49, 1, '{"train_loss": 0.6803211569786072, "train_reward_margin": 0.025818634778261185, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 50, 1, '{"train_loss": 0.6800940632820129, "train_reward_margin": 0.02627887763082981, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 51, 1, '{"train_loss": 0.6799572110176086, "train_reward_margin": 0.02655620500445366, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 52, 1, '{"train_loss": 0.6798257827758789, "train_reward_margin": 0.026822661980986595, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 53, 1, '{"train_loss": 0.6799115538597107, "train_reward_margin": 0.026648713275790215, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 54, 1, '{"train_loss": 0.679770290851593, "train_reward_margin": 0.026935197412967682, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 55, 1, '{"train_loss": 0.679736852645874, "train_reward_margin": 0.027002908289432526, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 56, 1, '{"train_loss": 0.6796481609344482, "train_reward_margin": 0.027182770892977715, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 57, 1, '{"train_loss": 0.6796562671661377, "train_reward_margin": 0.027166366577148438, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 58, 1, '{"train_loss": 0.6796455979347229, "train_reward_margin": 0.027187921106815338, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 59, 1, '{"train_loss": 0.6795340180397034, "train_reward_margin": 0.02741413190960884, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 60, 1, '{"train_loss": 0.6796156167984009, "train_reward_margin": 0.027248766273260117, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 61, 1, '{"train_loss": 0.6795312166213989, "train_reward_margin": 0.02741985395550728, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 62, 1, '{"train_loss": 0.6796008348464966, "train_reward_margin": 0.027278710156679153, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 63, 1, '{"train_loss": 0.6795186996459961, "train_reward_margin": 0.027445221319794655, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 64, 1, '{"train_loss": 0.679511547088623, "train_reward_margin": 0.02745971642434597, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 65, 1, '{"train_loss": 0.679551899433136, "train_reward_margin": 0.027377892285585403, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 66, 1, '{"train_loss": 0.6796019673347473, "train_reward_margin": 0.02727642096579075, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 67, 1, '{"train_loss": 0.6795244812965393, "train_reward_margin": 0.02743358537554741, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 68, 1, '{"train_loss": 0.6794076561927795, "train_reward_margin": 0.0276704803109169, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 69, 1, '{"train_loss": 0.6794770359992981, "train_reward_margin": 0.02752971649169922, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 70, 1, '{"train_loss": 0.6791170835494995, "train_reward_margin": 0.028259851038455963, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 71, 1, '{"train_loss": 0.6793909072875977, "train_reward_margin": 0.027704428881406784, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 72, 1, '{"train_loss": 0.6790888905525208, "train_reward_margin": 0.028317071497440338, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 73, 1, '{"train_loss": 0.6790675520896912, "train_reward_margin": 0.028360366821289062, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 74, 1, '{"train_loss": 0.6791478991508484, "train_reward_margin": 0.028197288513183594, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 75, 1, '{"train_loss": 0.6790636777877808, "train_reward_margin": 0.028368186205625534, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 76, 1, '{"train_loss": 0.6791092157363892, "train_reward_margin": 0.0282758716493845, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 77, 1, '{"train_loss": 0.6790477633476257, "train_reward_margin": 0.028400421142578125, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 78, 1, '{"train_loss": 0.6788026690483093, "train_reward_margin": 0.028897857293486595, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 79, 1, '{"train_loss": 0.6788700222969055, "train_reward_margin": 0.02876110188663006, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 80, 1, '{"train_loss": 0.6787229180335999, "train_reward_margin": 0.029059601947665215, "train_reward_accuracy": 1.0}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 81, 1, '{"train_loss": 0.6787363886833191, "train_reward_margin": 0.029032327234745026, "train_reward_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 1, 1, '{"train_loss": 1.050014615058899, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 2, 1, '{"train_loss": 1.1086328029632568, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 3, 1, '{"train_loss": 1.1055831909179688, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 4, 1, '{"train_loss": 1.066525936126709, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 5, 1, '{"train_loss": 1.1003004312515259, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 6, 1, '{"train_loss": 1.0655657052993774, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 7, 1, '{"train_loss": 1.1080231666564941, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 8, 1, '{"train_loss": 1.1312673091888428, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 9, 1, '{"train_loss": 1.1072864532470703, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 10, 1, '{"train_loss": 1.121861457824707, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 11, 1, '{"train_loss": 1.1082757711410522, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 12, 1, '{"train_loss": 1.131509780883789, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 13, 1, '{"train_loss": 1.1394627094268799, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 14, 1, '{"train_loss": 1.1385560035705566, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 15, 1, '{"train_loss": 1.13097083568573, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 16, 1, '{"train_loss": 1.0601115226745605, "train_mean_token_accuracy": 1.0}');
INSERT INTO public.job_metrics VALUES
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 17, 1, '{"train_loss": 1.1146665811538696, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 18, 1, '{"train_loss": 1.09428071975708, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 19, 1, '{"train_loss": 1.0854885578155518, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 20, 1, '{"train_loss": 1.0626943111419678, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 21, 1, '{"train_loss": 1.1180256605148315, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 22, 1, '{"train_loss": 1.0806268453598022, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 23, 1, '{"train_loss": 1.0923997163772583, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 24, 1, '{"train_loss": 1.1018671989440918, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 25, 1, '{"train_loss": 1.0895557403564453, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 26, 1, '{"train_loss": 1.134159803390503, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 27, 1, '{"train_loss": 1.132228970527649, "valid_loss": 1.0606836080551147, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 28, 1, '{"train_loss": 1.1011414527893066, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 29, 1, '{"train_loss": 1.100776195526123, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 30, 1, '{"train_loss": 1.1084372997283936, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 31, 1, '{"train_loss": 1.1355371475219727, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 32, 1, '{"train_loss": 1.0758451223373413, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 33, 1, '{"train_loss": 1.1061331033706665, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 34, 1, '{"train_loss": 1.1188271045684814, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 35, 1, '{"train_loss": 1.1231954097747803, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 36, 1, '{"train_loss": 1.1047782897949219, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 37, 1, '{"train_loss": 1.0779153108596802, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 38, 1, '{"train_loss": 1.0842612981796265, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 39, 1, '{"train_loss": 1.0842732191085815, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 40, 1, '{"train_loss": 1.0993775129318237, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 41, 1, '{"train_loss": 1.0515025854110718, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 42, 1, '{"train_loss": 1.0901434421539307, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 43, 1, '{"train_loss": 1.085187554359436, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 44, 1, '{"train_loss": 1.0566996335983276, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 45, 1, '{"train_loss": 1.0584204196929932, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 46, 1, '{"train_loss": 1.1622810363769531, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 47, 1, '{"train_loss": 1.0357589721679688, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 48, 1, '{"train_loss": 1.121125340461731, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 49, 1, '{"train_loss": 1.1274677515029907, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 50, 1, '{"train_loss": 1.1253342628479004, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 51, 1, '{"train_loss": 1.0345150232315063, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 52, 1, '{"train_loss": 1.053155541419983, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 53, 1, '{"train_loss": 1.0938094854354858, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 54, 1, '{"train_loss": 1.2538583278656006, "valid_loss": 1.2084503173828125, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 55, 1, '{"train_loss": 1.0884370803833008, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 56, 1, '{"train_loss": 1.2182780504226685, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 57, 1, '{"train_loss": 1.2909610271453857, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 58, 1, '{"train_loss": 1.0032455921173096, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 59, 1, '{"train_loss": 1.063863754272461, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 60, 1, '{"train_loss": 1.0466747283935547, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 61, 1, '{"train_loss": 1.296915054321289, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 62, 1, '{"train_loss": 1.2675825357437134, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 63, 1, '{"train_loss": 1.2625484466552734, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 64, 1, '{"train_loss": 0.9952297806739807, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 65, 1, '{"train_loss": 1.0722358226776123, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 66, 1, '{"train_loss": 1.1968235969543457, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 67, 1, '{"train_loss": 1.0310622453689575, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 68, 1, '{"train_loss": 1.0279357433319092, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 69, 1, '{"train_loss": 1.03452730178833, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 70, 1, '{"train_loss": 1.2099074125289917, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 71, 1, '{"train_loss": 1.0693801641464233, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 72, 1, '{"train_loss": 1.206877589225769, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 73, 1, '{"train_loss": 1.0691795349121094, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 74, 1, '{"train_loss": 1.0263254642486572, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 75, 1, '{"train_loss": 1.2007251977920532, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 76, 1, '{"train_loss": 1.0621047019958496, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 77, 1, '{"train_loss": 1.0768492221832275, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 78, 1, '{"train_loss": 1.1121779680252075, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 79, 1, '{"train_loss": 1.1641095876693726, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 80, 1, '{"train_loss": 1.1671539545059204, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 81, 1, '{"train_loss": 1.1758050918579102, "valid_loss": 1.0591108798980713, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 82, 1, '{"train_loss": 1.1368731260299683, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 83, 1, '{"train_loss": 1.1035964488983154, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 84, 1, '{"train_loss": 1.0559499263763428, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 85, 1, '{"train_loss": 1.089848518371582, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 86, 1, '{"train_loss": 1.0942554473876953, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 87, 1, '{"train_loss": 1.064081072807312, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 88, 1, '{"train_loss": 1.1111763715744019, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 89, 1, '{"train_loss": 1.0396108627319336, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 90, 1, '{"train_loss": 1.129843831062317, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 91, 1, '{"train_loss": 1.0634009838104248, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 92, 1, '{"train_loss": 1.1468548774719238, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 93, 1, '{"train_loss": 1.1411230564117432, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 94, 1, '{"train_loss": 1.1290634870529175, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 95, 1, '{"train_loss": 1.0524945259094238, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 96, 1, '{"train_loss": 1.0034544467926025, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 97, 1, '{"train_loss": 1.1025371551513672, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 98, 1, '{"train_loss": 1.1016494035720825, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 99, 1, '{"train_loss": 1.1575984954833984, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 100, 1, '{"train_loss": 1.1155980825424194, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 101, 1, '{"train_loss": 1.0689020156860352, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 102, 1, '{"train_loss": 1.0682677030563354, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 103, 1, '{"train_loss": 1.0656144618988037, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 104, 1, '{"train_loss": 1.098594307899475, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 105, 1, '{"train_loss": 1.074715495109558, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 106, 1, '{"train_loss": 1.072844386100769, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 107, 1, '{"train_loss": 1.2251700162887573, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 108, 1, '{"train_loss": 1.0439337491989136, "valid_loss": 1.055803656578064, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 109, 1, '{"train_loss": 1.1881647109985352, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 110, 1, '{"train_loss": 1.2257591485977173, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 111, 1, '{"train_loss": 1.05899977684021, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 112, 1, '{"train_loss": 1.0146620273590088, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 113, 1, '{"train_loss": 1.0447075366973877, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 114, 1, '{"train_loss": 1.0174511671066284, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 115, 1, '{"train_loss": 0.9997010827064514, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 116, 1, '{"train_loss": 1.0474905967712402, "train_mean_token_accuracy": 1.0}');
INSERT INTO public.job_metrics VALUES
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 117, 1, '{"train_loss": 1.0282987356185913, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 118, 1, '{"train_loss": 1.1566051244735718, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 119, 1, '{"train_loss": 1.2209789752960205, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 120, 1, '{"train_loss": 0.9982097744941711, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 121, 1, '{"train_loss": 0.9615634679794312, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 122, 1, '{"train_loss": 1.2414734363555908, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 123, 1, '{"train_loss": 1.265162467956543, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 124, 1, '{"train_loss": 1.0513331890106201, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 125, 1, '{"train_loss": 1.0030878782272339, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 126, 1, '{"train_loss": 1.1447932720184326, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 127, 1, '{"train_loss": 1.0608381032943726, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 128, 1, '{"train_loss": 1.0483012199401855, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 129, 1, '{"train_loss": 0.9759530425071716, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 130, 1, '{"train_loss": 0.9595239758491516, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 131, 1, '{"train_loss": 0.8648461699485779, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 132, 1, '{"train_loss": 0.9889904856681824, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 133, 1, '{"train_loss": 1.2256543636322021, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 134, 1, '{"train_loss": 1.2553095817565918, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 135, 1, '{"train_loss": 0.9500722289085388, "valid_loss": 1.1010096073150635, "train_mean_token_accuracy": 1.0, "valid_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 136, 1, '{"train_loss": 0.9035812616348267, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 137, 1, '{"train_loss": 1.330819845199585, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 138, 1, '{"train_loss": 1.2968175411224365, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 139, 1, '{"train_loss": 1.2044978141784668, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 140, 1, '{"train_loss": 1.2856636047363281, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 141, 1, '{"train_loss": 1.2453089952468872, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 142, 1, '{"train_loss": 1.1991114616394043, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 143, 1, '{"train_loss": 1.2175931930541992, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 144, 1, '{"train_loss": 0.8868808746337891, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 145, 1, '{"train_loss": 1.128456473350525, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 146, 1, '{"train_loss": 1.139018177986145, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 147, 1, '{"train_loss": 1.159955382347107, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 148, 1, '{"train_loss": 1.1387226581573486, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 149, 1, '{"train_loss": 1.1906572580337524, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 150, 1, '{"train_loss": 0.9667376279830933, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 151, 1, '{"train_loss": 1.0938628911972046, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 152, 1, '{"train_loss": 0.9671590328216553, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 153, 1, '{"train_loss": 1.0568435192108154, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 154, 1, '{"train_loss": 1.4086790084838867, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 155, 1, '{"train_loss": 1.1722712516784668, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 156, 1, '{"train_loss": 1.0133662223815918, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 157, 1, '{"train_loss": 1.0244578123092651, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 158, 1, '{"train_loss": 0.9177348613739014, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 159, 1, '{"train_loss": 0.9194695353507996, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 160, 1, '{"train_loss": 1.0064051151275635, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 161, 1, '{"train_loss": 1.2831482887268066, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 162, 1, '{"train_loss": 1.3456007242202759, "valid_loss": 0.9207718968391418, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 163, 1, '{"train_loss": 0.9215075969696045, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 164, 1, '{"train_loss": 1.4527232646942139, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 165, 1, '{"train_loss": 0.9805589914321899, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 166, 1, '{"train_loss": 1.4331376552581787, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 167, 1, '{"train_loss": 1.031099796295166, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 168, 1, '{"train_loss": 1.2938618659973145, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 169, 1, '{"train_loss": 1.021234154701233, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 170, 1, '{"train_loss": 1.2137420177459717, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 171, 1, '{"train_loss": 1.0806511640548706, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 172, 1, '{"train_loss": 0.9499174356460571, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 173, 1, '{"train_loss": 1.0477782487869263, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 174, 1, '{"train_loss": 1.0181410312652588, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 175, 1, '{"train_loss": 1.188533067703247, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 176, 1, '{"train_loss": 0.9542932510375977, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 177, 1, '{"train_loss": 1.1916745901107788, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 178, 1, '{"train_loss": 1.0167666673660278, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 179, 1, '{"train_loss": 1.0732364654541016, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 180, 1, '{"train_loss": 0.9606009721755981, "valid_loss": 0.9887853264808655, "valid_roc_auc": 0.9074074074074074, "valid_accuracy": 0.5555555555555556, "valid_f1_macro": 0.5555555555555555, "valid_f1_micro": 0.5555555555555556, "full_valid_loss": 1.0566902160644531, "valid_f1_weighted": 0.5555555555555556, "valid_recall_macro": 0.5555555555555555, "valid_recall_micro": 0.5555555555555556, "valid_precision_macro": 0.6888888888888888, "valid_precision_micro": 0.5555555555555556, "valid_recall_weighted": 0.5555555555555556, "valid_precision_weighted": 0.6888888888888889, "train_mean_token_accuracy": 1.0, "valid_mean_token_accuracy": 1.0, "full_valid_mean_token_accuracy": 0.5555555555555556}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 181, 1, '{"train_loss": 1.0441871881484985, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 182, 1, '{"train_loss": 0.9996321201324463, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 183, 1, '{"train_loss": 1.03947114944458, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 184, 1, '{"train_loss": 0.8935213088989258, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 185, 1, '{"train_loss": 1.0091522932052612, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 186, 1, '{"train_loss": 1.165557861328125, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 187, 1, '{"train_loss": 0.9523459672927856, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 188, 1, '{"train_loss": 1.1034395694732666, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 189, 1, '{"train_loss": 1.123636245727539, "valid_loss": 1.0903191566467285, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 190, 1, '{"train_loss": 1.2322908639907837, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 191, 1, '{"train_loss": 1.0620487928390503, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 192, 1, '{"train_loss": 0.8752396702766418, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 193, 1, '{"train_loss": 1.0393940210342407, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 194, 1, '{"train_loss": 1.4728208780288696, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 195, 1, '{"train_loss": 0.9598747491836548, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 196, 1, '{"train_loss": 0.6693349480628967, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 197, 1, '{"train_loss": 1.4616875648498535, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 198, 1, '{"train_loss": 0.7744397521018982, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 199, 1, '{"train_loss": 1.0414950847625732, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 200, 1, '{"train_loss": 0.7579779624938965, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 201, 1, '{"train_loss": 0.7417901754379272, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 202, 1, '{"train_loss": 1.0575886964797974, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 203, 1, '{"train_loss": 0.7770380973815918, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 204, 1, '{"train_loss": 0.8187865614891052, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 205, 1, '{"train_loss": 1.1482768058776855, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 206, 1, '{"train_loss": 0.7779908180236816, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 207, 1, '{"train_loss": 1.1908529996871948, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 208, 1, '{"train_loss": 1.0129170417785645, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 209, 1, '{"train_loss": 0.6131402254104614, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 210, 1, '{"train_loss": 1.0823923349380493, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 211, 1, '{"train_loss": 1.3643527030944824, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 212, 1, '{"train_loss": 1.0720126628875732, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 213, 1, '{"train_loss": 1.0513036251068115, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 214, 1, '{"train_loss": 0.7557629942893982, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 215, 1, '{"train_loss": 0.5228168964385986, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 216, 1, '{"train_loss": 0.9962401390075684, "valid_loss": 0.7302358746528625, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 1.0}');
INSERT INTO public.job_metrics VALUES
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 217, 1, '{"train_loss": 0.7469069957733154, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 218, 1, '{"train_loss": 0.9591654539108276, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 219, 1, '{"train_loss": 1.8361376523971558, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 220, 1, '{"train_loss": 0.6818593740463257, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 221, 1, '{"train_loss": 0.8276931047439575, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 222, 1, '{"train_loss": 0.8681076169013977, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 223, 1, '{"train_loss": 1.83484947681427, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 224, 1, '{"train_loss": 1.2926377058029175, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 225, 1, '{"train_loss": 1.9080028533935547, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 226, 1, '{"train_loss": 0.41155537962913513, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 227, 1, '{"train_loss": 0.9885454177856445, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 228, 1, '{"train_loss": 0.9897486567497253, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 229, 1, '{"train_loss": 1.6365716457366943, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 230, 1, '{"train_loss": 0.978814959526062, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 231, 1, '{"train_loss": 2.0509915351867676, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 232, 1, '{"train_loss": 0.3846030533313751, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 233, 1, '{"train_loss": 0.914154589176178, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 234, 1, '{"train_loss": 1.8852193355560303, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 235, 1, '{"train_loss": 0.8916119337081909, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 236, 1, '{"train_loss": 0.7202875018119812, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 237, 1, '{"train_loss": 0.4395540654659271, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 238, 1, '{"train_loss": 1.2176382541656494, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 239, 1, '{"train_loss": 0.7428417205810547, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 240, 1, '{"train_loss": 1.5438456535339355, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 241, 1, '{"train_loss": 1.0001291036605835, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 242, 1, '{"train_loss": 0.7932406067848206, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 243, 1, '{"train_loss": 0.8877298831939697, "valid_loss": 0.9260213375091553, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 244, 1, '{"train_loss": 0.7889264225959778, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 245, 1, '{"train_loss": 1.1025593280792236, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 246, 1, '{"train_loss": 1.5270264148712158, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 247, 1, '{"train_loss": 2.2877275943756104, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 248, 1, '{"train_loss": 0.9261721968650818, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 249, 1, '{"train_loss": 0.7422631978988647, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 250, 1, '{"train_loss": 0.8625114560127258, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 251, 1, '{"train_loss": 0.9372981786727905, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 252, 1, '{"train_loss": 1.0723148584365845, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 253, 1, '{"train_loss": 0.48671281337738037, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 254, 1, '{"train_loss": 0.9247879981994629, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 255, 1, '{"train_loss": 0.9293531775474548, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 256, 1, '{"train_loss": 2.3548061847686768, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 257, 1, '{"train_loss": 1.0240190029144287, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 258, 1, '{"train_loss": 1.258926510810852, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 259, 1, '{"train_loss": 0.8640228509902954, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 260, 1, '{"train_loss": 0.41377922892570496, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 261, 1, '{"train_loss": 0.8655521273612976, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 262, 1, '{"train_loss": 0.8533820509910583, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 263, 1, '{"train_loss": 0.9374110698699951, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 264, 1, '{"train_loss": 0.826651930809021, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 265, 1, '{"train_loss": 0.7573601603507996, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 266, 1, '{"train_loss": 0.7771946787834167, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 267, 1, '{"train_loss": 1.3514423370361328, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 268, 1, '{"train_loss": 0.7697982788085938, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 269, 1, '{"train_loss": 1.0724388360977173, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 270, 1, '{"train_loss": 1.7712397575378418, "valid_loss": 0.7546234726905823, "train_mean_token_accuracy": 0.0, "valid_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 271, 1, '{"train_loss": 0.8203388452529907, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 272, 1, '{"train_loss": 0.9868134260177612, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 273, 1, '{"train_loss": 0.7308095693588257, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 274, 1, '{"train_loss": 1.1791926622390747, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 275, 1, '{"train_loss": 0.8367902040481567, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 276, 1, '{"train_loss": 0.8092511296272278, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 277, 1, '{"train_loss": 0.8313586115837097, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 278, 1, '{"train_loss": 0.798888623714447, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 279, 1, '{"train_loss": 0.7828935384750366, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 280, 1, '{"train_loss": 1.0210094451904297, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 281, 1, '{"train_loss": 0.750948429107666, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 282, 1, '{"train_loss": 2.1097147464752197, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 283, 1, '{"train_loss": 0.934455156326294, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 284, 1, '{"train_loss": 0.9187381863594055, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 285, 1, '{"train_loss": 0.9055249691009521, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 286, 1, '{"train_loss": 0.9424241185188293, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 287, 1, '{"train_loss": 0.8947880268096924, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 288, 1, '{"train_loss": 0.7163226008415222, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 289, 1, '{"train_loss": 0.7174431085586548, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 290, 1, '{"train_loss": 0.7225610613822937, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 291, 1, '{"train_loss": 0.7060295343399048, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 292, 1, '{"train_loss": 0.8418214321136475, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 293, 1, '{"train_loss": 2.4782769680023193, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 294, 1, '{"train_loss": 0.7015798091888428, "train_mean_token_accuracy": 1.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 295, 1, '{"train_loss": 2.4988574981689453, "train_mean_token_accuracy": 0.0}'),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 296, 1, '{"train_loss": 2.276771306991577, "train_mean_token_accuracy": 0.0}');


--
-- Data for Name: jobs; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.jobs VALUES
	('ftjob-zI4hupoppXywdYq1RNqYDY5A', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', '2026-11-29 01:51:46.63269+00', 'failed', 0, 1, 0, '2026-11-29 01:51:46.63269+00', 0, 'tiny', NULL, 'file-YJ9HeiPCgFncj5bI1CgY0sWe', NULL, 'supervised', '{"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}', NULL, 7, NULL, NULL, '[]', NULL, NULL, NULL, NULL, NULL, '2026-11-29 01:51:46.70226+00', NULL, NULL, 'invalid_file_format', 'training_file', 'The job failed due to a file format error in the training file. Invalid file format. Example 4 cannot be parsed. Error: line contains invalid json: Expecting property name enclosed in double quotes: line 1 column 2 (char 1) (line 4). Put keys and strings in double quotes.', NULL, NULL),
	('ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', '2026-11-29 01:50:57.007198+00', 'succeeded', 1, 4, 0, '2026-11-29 01:51:01.879059+00', 0, 'tiny', NULL, 'file-il6VhugYcl0NglCpo1lQV2L5', 'file-3RnBnGmonWeiPtZEghdTK3C8', 'supervised', '{"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 0.1}', '{"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 0.1}', 7, 'desk', '{"team": "desk"}', '[]', NULL, 6, 1018, '2026-11-29 01:51:02.053329+00', NULL, '2026-11-29 01:51:20.988067+00', 'ft:tiny:luthier:desk:WGT0tlVp', 'file-qxmRyNCqe6h7Td6IxdiV85G7', NULL, NULL, NULL, NULL, NULL),
	('ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', '2026-11-29 01:51:21.592321+00', 'succeeded', 1, 4, 0, '2026-11-29 01:51:21.684446+00', 0, 'tiny-encoder', NULL, 'file-TyXRyzczRR9QcQVePQyqZJzI', 'file-go8Q7txaJguyJ2UQBjBQerce', 'classification', '{"tuning": "auto", "n_epochs": 2, "batch_size": 4, "max_length": "auto", "class_weights": "auto", "early_stopping_patience": "auto", "learning_rate_multiplier": "auto"}', '{"tuning": "lora", "n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 1.0}', 7, 'parts', NULL, '[]', NULL, 12, 192, '2026-11-29 01:51:21.750571+00', NULL, '2026-11-29 01:51:46.059085+00', 'ft:tiny-encoder:luthier:parts:fun8VMDd', 'file-IaKt1GXrPCUtQuhbZJHmiZ71', NULL, NULL, NULL, 'file-tfbf6eWQL1ZLd4V0cVizqUkR', '{"many": false, "texts": 24, "labels": ["part-0", "part-1", "part-2"], "method": "classification", "lengths": {"3": 24}, "unknown": {"6": 24}, "version": 1, "unlabelled": 0, "label_counts": {"0": 8, "1": 8, "2": 8}}'),
	('ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', '2026-11-29 01:51:47.717073+00', 'paused', 1, 4, 0, '2026-11-29 01:51:47.780564+00', 0, 'tiny', NULL, 'file-q9w7pqKjCx6GBrbZilbC2Ppg', NULL, 'supervised', '{"n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": 0.1}', '{"n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": 0.1}', 7, NULL, NULL, '[]', NULL, 180, NULL, '2026-11-29 01:51:47.846752+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	('ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', '2026-11-29 01:52:36.885194+00', 'paused', 1, 4, 0, '2026-11-29 01:52:36.947303+00', 0, 'tiny-encoder', NULL, 'file-3KISISp9o71lJsJCmorqlfnq', 'file-go8Q7txaJguyJ2UQBjBQerce', 'classification', '{"tuning": "auto", "n_epochs": 3, "batch_size": 1, "max_length": "auto", "class_weights": "auto", "early_stopping_patience": 3, "learning_rate_multiplier": 0.1}', '{"tuning": "lora", "n_epochs": 3, "batch_size": 1, "early_stopping_patience": 3, "learning_rate_multiplier": 0.1}', 7, NULL, NULL, '[]', NULL, 540, NULL, '2026-11-29 01:52:37.007971+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '{"many": false, "texts": 180, "labels": ["part-0", "part-1", "part-2"], "method": "classification", "lengths": {"3": 180}, "unknown": {"0": 180}, "version": 1, "unlabelled": 0, "label_counts": {"0": 60, "1": 60, "2": 60}}'),
	('ftjob-GrlbsNKUtBWgmsDIwKLCefV3', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', '2026-11-29 01:52:13.375123+00', 'paused', 1, 4, 0, '2026-11-29 01:52:13.453561+00', 0, 'tiny', NULL, 'file-jjQy9lL7y1QOodz5fHfargru', NULL, 'dpo', '{"beta": "auto", "n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": 0.1}', '{"beta": 0.1, "n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": 0.1}', 7, NULL, NULL, '[]', NULL, 180, NULL, '2026-11-29 01:52:13.63216+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	('ftjob-Jmdr7L9KEv2zZtqNhykfjPih', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', '2026-11-29 01:53:00.271174+00', 'cancelled', 2, 3, 0, '2026-11-29 01:53:00.301094+00', 0, 'tiny', NULL, 'file-il6VhugYcl0NglCpo1lQV2L5', NULL, 'supervised', '{"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}', NULL, 7, NULL, NULL, '[]', NULL, NULL, NULL, '2026-11-29 01:53:00.333012+00', NULL, '2026-11-29 01:53:00.407697+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL);


--
-- Data for Name: model_hours; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.model_hours VALUES
	('ft:tiny:luthier:desk:WGT0tlVp', '2026-11-29 01:00:00+00', '{"sums": {"texts": 2, "tokens": 78, "unlabelled": 0}, "lengths": {"10": 2}, "seconds": {"3": 1, "5": 1}, "requests": {"answered": 2}}'),
	('ft:tiny-encoder:luthier:parts:fun8VMDd', '2026-11-29 01:00:00+00', '{"sums": {"texts": 6, "judged": 6, "tokens": 24, "unlabelled": 0}, "labels": {"2": 6}, "lengths": {"3": 6}, "seconds": {"2": 2, "6": 1}, "unknown": {"0": 3, "6": 3}, "requests": {"answered": 3}, "confidence": {"4": 6}, "false_negatives": {"1": 6}, "false_positives": {"2": 6}}');


--
-- Data for Name: organizations; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.organizations VALUES
	('org-Nn49KPHVgdiHPayyJSyFGEq2', 'luthier', '2026-11-29 01:50:33.038353+00');


--
-- Data for Name: outbox; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.outbox VALUES
	(1, 'bell', '{"task": "validate", "job_id": "ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS"}', '2026-11-29 01:50:57.029822+00', '2026-11-29 01:51:06.771746+00', 1, '2026-11-29 01:51:01.902454+00'),
	(2, 'bell', '{"task": "train", "job_id": "ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS"}', '2026-11-29 01:51:01.912007+00', '2026-11-29 01:51:07.57591+00', 1, '2026-11-29 01:51:02.59887+00'),
	(3, 'bell', '{"task": "deliver", "job_id": "ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS"}', '2026-11-29 01:51:21.012717+00', '2026-11-29 01:51:26.176707+00', 1, '2026-11-29 01:51:21.226999+00'),
	(4, 'bell', '{"task": "validate", "job_id": "ftjob-E9xBGfTKe9Or1WC2CJfe5DrV"}', '2026-11-29 01:51:21.614115+00', '2026-11-29 01:51:26.87031+00', 1, '2026-11-29 01:51:21.926565+00'),
	(5, 'bell', '{"task": "train", "job_id": "ftjob-E9xBGfTKe9Or1WC2CJfe5DrV"}', '2026-11-29 01:51:21.704138+00', '2026-11-29 01:51:26.870355+00', 1, '2026-11-29 01:51:21.926606+00'),
	(6, 'bell', '{"task": "deliver", "job_id": "ftjob-E9xBGfTKe9Or1WC2CJfe5DrV"}', '2026-11-29 01:51:46.076284+00', '2026-11-29 01:51:51.247259+00', 1, '2026-11-29 01:51:46.296322+00'),
	(7, 'bell', '{"task": "validate", "job_id": "ftjob-zI4hupoppXywdYq1RNqYDY5A"}', '2026-11-29 01:51:46.651065+00', '2026-11-29 01:51:51.81736+00', 1, '2026-11-29 01:51:46.855421+00'),
	(8, 'bell', '{"task": "deliver", "job_id": "ftjob-zI4hupoppXywdYq1RNqYDY5A"}', '2026-11-29 01:51:46.731503+00', '2026-11-29 01:51:51.817386+00', 1, '2026-11-29 01:51:46.855507+00'),
	(9, 'bell', '{"task": "validate", "job_id": "ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ"}', '2026-11-29 01:51:47.726759+00', '2026-11-29 01:51:52.792281+00', 1, '2026-11-29 01:51:47.825993+00'),
	(10, 'bell', '{"task": "train", "job_id": "ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ"}', '2026-11-29 01:51:47.796087+00', '2026-11-29 01:51:52.860387+00', 1, '2026-11-29 01:51:47.887001+00'),
	(11, 'bell', '{"task": "validate", "job_id": "ftjob-GrlbsNKUtBWgmsDIwKLCefV3"}', '2026-11-29 01:52:13.398152+00', '2026-11-29 01:52:18.426975+00', 1, '2026-11-29 01:52:13.449843+00'),
	(12, 'bell', '{"task": "train", "job_id": "ftjob-GrlbsNKUtBWgmsDIwKLCefV3"}', '2026-11-29 01:52:13.457052+00', '2026-11-29 01:52:18.479848+00', 1, '2026-11-29 01:52:13.500874+00'),
	(13, 'bell', '{"task": "validate", "job_id": "ftjob-yfUlXxXapNQX1dRQs1mmRAnj"}', '2026-11-29 01:52:36.890906+00', '2026-11-29 01:52:42.430773+00', 1, '2026-11-29 01:52:37.478463+00'),
	(14, 'bell', '{"task": "train", "job_id": "ftjob-yfUlXxXapNQX1dRQs1mmRAnj"}', '2026-11-29 01:52:36.979519+00', '2026-11-29 01:52:42.430816+00', 1, '2026-11-29 01:52:37.478511+00'),
	(15, 'bell', '{"task": "validate", "job_id": "ftjob-Jmdr7L9KEv2zZtqNhykfjPih"}', '2026-11-29 01:53:00.277212+00', '2026-11-29 01:53:05.748259+00', 1, '2026-11-29 01:53:00.87277+00'),
	(16, 'bell', '{"task": "train", "job_id": "ftjob-Jmdr7L9KEv2zZtqNhykfjPih"}', '2026-11-29 01:53:00.313394+00', '2026-11-29 01:53:05.748291+00', 1, '2026-11-29 01:53:00.872872+00'),
	(17, 'bell', '{"task": "deliver", "job_id": "ftjob-Jmdr7L9KEv2zZtqNhykfjPih"}', '2026-11-29 01:53:00.443401+00', '2026-11-29 01:53:05.748296+00', 1, '2026-11-29 01:53:00.872876+00');


--
-- Data for Name: predictions; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.predictions VALUES
	('req_4911affa3cd06db9c198eb2caad09584', 'ft:tiny-encoder:luthier:parts:fun8VMDd', 'classify-yqVN2MqxjaEjMmYvSPd88hiF', '[[2], [2]]', '[[1], [1]]', '2026-11-29 01:53:02.220518+00'),
	('req_50bda534316aaa0d17d6f3f7afbca208', 'ft:tiny-encoder:luthier:parts:fun8VMDd', 'classify-CIXqtqcODAlWUrjoKYBIeKbW', '[[2], [2]]', '[[1], [1]]', '2026-11-29 01:53:02.219854+00'),
	('req_6fa132420a562838d44eeea3b33cb85f', 'ft:tiny-encoder:luthier:parts:fun8VMDd', 'classify-7qm86gRNebSvOdEAXerrqVec', '[[2], [2]]', '[[1], [1]]', '2026-11-29 01:53:02.22059+00');


--
-- Data for Name: projects; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.projects VALUES
	('proj_eagVkFCQ6UjRtcFIWtK0woHu', 'org-Nn49KPHVgdiHPayyJSyFGEq2', 'other', '2026-11-29 01:50:54.994392+00', NULL, NULL, NULL, NULL),
	('proj_R6jjOgQA11bdCqmH40kEf6yU', 'org-Nn49KPHVgdiHPayyJSyFGEq2', 'archived', '2026-11-29 01:50:55.135434+00', NULL, NULL, NULL, '2026-11-29 01:50:55.480089+00'),
	('proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'org-Nn49KPHVgdiHPayyJSyFGEq2', 'default', '2026-11-29 01:50:33.177984+00', '2026-11-29 01:53:00.344494+00', NULL, NULL, NULL);


--
-- Data for Name: repeats; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.repeats VALUES
	('org-Nn49KPHVgdiHPayyJSyFGEq2', '
2e86149e54b4c074eae9db8cb479bd16fddbcb31582ec61161fe35b8a7d5d5b0', '2e86149e54b4c074eae9db8cb479bd16fddbcb31582ec61161fe35b8a7d5d5b0', '{"id": "proj_eagVkFCQ6UjRtcFIWtK0woHu", "name": "other", "object": "organization.project", "status": "active", "residency": "GLOBAL", "created_at": 1795917054, "archived_at": null, "external_key_id": null}', '2026-11-29 01:50:55.00106+00', 200),
	('org-Nn49KPHVgdiHPayyJSyFGEq2', '
b2e91887b5c040a646e69d0ba47d94f7ca176894ce40366ab93b86f1409c7fef', 'b2e91887b5c040a646e69d0ba47d94f7ca176894ce40366ab93b86f1409c7fef', '{"id": "proj_R6jjOgQA11bdCqmH40kEf6yU", "name": "archived", "object": "organization.project", "status": "active", "residency": "GLOBAL", "created_at": 1795917055, "archived_at": null, "external_key_id": null}', '2026-11-29 01:50:55.137648+00', 200),
	('proj_9An2ZtvG5NV3yGJJPg9DRdkx', '
c4cbe1371f4ec3738fc5c4b5afc820b15514280b585b4a2161f6877431818068', 'c4cbe1371f4ec3738fc5c4b5afc820b15514280b585b4a2161f6877431818068', '{"id": "wh_TEfWWcWOycoo3xQFlOaEQSzD", "url": "http://127.0.0.1:37495/hook", "name": "good", "object": "webhook_endpoint", "status": "enabled", "created_at": 1795917055, "updated_at": 1795917055, "event_types": ["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"], "signing_secret": "whsec_KYTxMWvdLjGbprUD0KeLWkX+XKWgC01wwPj0foRWdGM=", "signing_secret_hint": "whsec_…dGM="}', '2026-11-29 01:50:55.99418+00', 200),
	('proj_9An2ZtvG5NV3yGJJPg9DRdkx', '
7c60b0606ffeb88d784ad3246cffd3dcc924bd29a3b5379c712eec38285630cb', '7c60b0606ffeb88d784ad3246cffd3dcc924bd29a3b5379c712eec38285630cb', '{"id": "wh_nKe2YarccHTQX3YCx1Ysdduv", "url": "http://127.0.0.1:46207/hook", "name": "bad", "object": "webhook_endpoint", "status": "enabled", "created_at": 1795917056, "updated_at": 1795917056, "event_types": ["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"], "signing_secret": "whsec_0gq/Uv1xU7MCwH0R6w0jHgFXmyuDwebP2lSwmEI1mVM=", "signing_secret_hint": "whsec_…mVM="}', '2026-11-29 01:50:56.143195+00', 200),
	('proj_9An2ZtvG5NV3yGJJPg9DRdkx', '
6dc50802c11b28be3fcea21bf278270bc4bb243493f6891b684ffea25c712976', '6dc50802c11b28be3fcea21bf278270bc4bb243493f6891b684ffea25c712976', '{"id": "file-il6VhugYcl0NglCpo1lQV2L5", "bytes": 965, "object": "file", "status": "processed", "purpose": "fine-tune", "filename": "chats.jsonl", "created_at": 1795917056, "expires_at": null, "status_details": null}', '2026-11-29 01:50:56.394885+00', 200),
	('proj_9An2ZtvG5NV3yGJJPg9DRdkx', '
c3d8636bd20d4662178ae27d7f0eb1d0da17823cc3b0fa5c91e355878e3f59ab', 'c3d8636bd20d4662178ae27d7f0eb1d0da17823cc3b0fa5c91e355878e3f59ab', '{"id": "file-3RnBnGmonWeiPtZEghdTK3C8", "bytes": 240, "object": "file", "status": "processed", "purpose": "fine-tune", "filename": "held.jsonl", "created_at": 1795917056, "expires_at": null, "status_details": null}', '2026-11-29 01:50:56.573889+00', 200),
	('proj_9An2ZtvG5NV3yGJJPg9DRdkx', '
0a78cf7032fa4fed4e0ab7c79cf5dd953fcf3b0ea4c1b7f90710e7a87714beca', '0a78cf7032fa4fed4e0ab7c79cf5dd953fcf3b0ea4c1b7f90710e7a87714beca', '{"id": "file-TyXRyzczRR9QcQVePQyqZJzI", "bytes": 854, "object": "file", "status": "processed", "purpose": "fine-tune", "filename": "labels.jsonl", "created_at": 1795917056, "expires_at": null, "status_details": null}', '2026-11-29 01:50:56.719727+00', 200),
	('proj_9An2ZtvG5NV3yGJJPg9DRdkx', '
9bec050a68f7e68310fd2f02e60a5c0202b0628f4548af30d0c0d0c2b74a4866', '9bec050a68f7e68310fd2f02e60a5c0202b0628f4548af30d0c0d0c2b74a4866', '{"id": "file-go8Q7txaJguyJ2UQBjBQerce", "bytes": 315, "object": "file", "status": "processed", "purpose": "fine-tune", "filename": "held-labels.jsonl", "created_at": 1795917056, "expires_at": null, "status_details": null}', '2026-11-29 01:50:56.880011+00', 200),
	('proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'make-the-first-job', 'a0052c9e438566e1b0ecec6db78f105d1c62f76663b0e89b963d0a912266175e', '{"id": "ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS", "seed": 7, "error": null, "model": "tiny", "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 0.1}}}, "object": "fine_tuning.job", "status": "validating_files", "metadata": {"team": "desk"}, "created_at": 1795917057, "finished_at": null, "integrations": [], "result_files": [], "training_file": "file-il6VhugYcl0NglCpo1lQV2L5", "usage_metrics": null, "trained_tokens": null, "hyperparameters": {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 0.1}, "organization_id": "org-Nn49KPHVgdiHPayyJSyFGEq2", "validation_file": "file-3RnBnGmonWeiPtZEghdTK3C8", "estimated_finish": null, "fine_tuned_model": null, "shared_with_openai": false, "user_provided_suffix": "desk"}', '2026-11-29 01:50:57.031377+00', 200),
	('proj_9An2ZtvG5NV3yGJJPg9DRdkx', '
d0289739550cac89e6b12ca7b4849df80cde180d9ddcb9cbbc72c0a3bb7710a9', 'd0289739550cac89e6b12ca7b4849df80cde180d9ddcb9cbbc72c0a3bb7710a9', '{"id": "ftjob-E9xBGfTKe9Or1WC2CJfe5DrV", "seed": 7, "error": null, "model": "tiny-encoder", "method": {"type": "classification", "classification": {"hyperparameters": {"tuning": "auto", "n_epochs": 2, "batch_size": 4, "max_length": "auto", "class_weights": "auto", "early_stopping_patience": "auto", "learning_rate_multiplier": "auto"}}}, "object": "fine_tuning.job", "status": "validating_files", "metadata": null, "created_at": 1795917081, "finished_at": null, "integrations": [], "result_files": [], "training_file": "file-TyXRyzczRR9QcQVePQyqZJzI", "usage_metrics": null, "trained_tokens": null, "hyperparameters": {"tuning": "auto", "n_epochs": 2, "batch_size": 4, "max_length": "auto", "class_weights": "auto", "early_stopping_patience": "auto", "learning_rate_multiplier": "auto"}, "organization_id": "org-Nn49KPHVgdiHPayyJSyFGEq2", "validation_file": "file-go8Q7txaJguyJ2UQBjBQerce", "estimated_finish": null, "fine_tuned_model": null, "shared_with_openai": false, "user_provided_suffix": "parts"}', '2026-11-29 01:51:21.621219+00', 200),
	('proj_9An2ZtvG5NV3yGJJPg9DRdkx', '
19a560fd563b9d17bb6eec68a1de467e3309805a96c6967963ad621fedd692cb', '19a560fd563b9d17bb6eec68a1de467e3309805a96c6967963ad621fedd692cb', '{"id": "file-YJ9HeiPCgFncj5bI1CgY0sWe", "bytes": 247, "object": "file", "status": "error", "purpose": "fine-tune", "filename": "broken.jsonl", "created_at": 1795917106, "expires_at": null, "status_details": "Invalid file format. Example 4 cannot be parsed. Error: line contains invalid json: Expecting property name enclosed in double quotes: line 1 column 2 (char 1) (line 4). Put keys and strings in double quotes."}', '2026-11-29 01:51:46.476707+00', 200),
	('proj_9An2ZtvG5NV3yGJJPg9DRdkx', '
f2c985934800d5c7fed25f185a02614ad2cf632312afedb89cdd84b11fa21bd0', 'f2c985934800d5c7fed25f185a02614ad2cf632312afedb89cdd84b11fa21bd0', '{"id": "ftjob-zI4hupoppXywdYq1RNqYDY5A", "seed": 7, "error": null, "model": "tiny", "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}}}, "object": "fine_tuning.job", "status": "validating_files", "metadata": null, "created_at": 1795917106, "finished_at": null, "integrations": [], "result_files": [], "training_file": "file-YJ9HeiPCgFncj5bI1CgY0sWe", "usage_metrics": null, "trained_tokens": null, "hyperparameters": {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}, "organization_id": "org-Nn49KPHVgdiHPayyJSyFGEq2", "validation_file": null, "estimated_finish": null, "fine_tuned_model": null, "shared_with_openai": false, "user_provided_suffix": null}', '2026-11-29 01:51:46.65246+00', 200),
	('proj_9An2ZtvG5NV3yGJJPg9DRdkx', '
ad108e1eaa6646e27fe43b08888e070dea2869a7af821ea24d4babce06b44f92', 'ad108e1eaa6646e27fe43b08888e070dea2869a7af821ea24d4babce06b44f92', '{"id": "file-q9w7pqKjCx6GBrbZilbC2Ppg", "bytes": 14902, "object": "file", "status": "processed", "purpose": "fine-tune", "filename": "long.jsonl", "created_at": 1795917107, "expires_at": null, "status_details": null}', '2026-11-29 01:51:47.16118+00', 200),
	('proj_9An2ZtvG5NV3yGJJPg9DRdkx', '
034d11c43d48faf36cd91ef3cf597c97c854ba46a2c1d32b3b62bf415b9e11a1', '034d11c43d48faf36cd91ef3cf597c97c854ba46a2c1d32b3b62bf415b9e11a1', '{"id": "file-jjQy9lL7y1QOodz5fHfargru", "bytes": 31930, "object": "file", "status": "processed", "purpose": "fine-tune", "filename": "pairs.jsonl", "created_at": 1795917107, "expires_at": null, "status_details": null}', '2026-11-29 01:51:47.30964+00', 200),
	('proj_9An2ZtvG5NV3yGJJPg9DRdkx', '
af1c9ae12efe96bdc7b4c03da69c052b6276394d974e7465d0cb10cecb8fed82', 'af1c9ae12efe96bdc7b4c03da69c052b6276394d974e7465d0cb10cecb8fed82', '{"id": "file-3KISISp9o71lJsJCmorqlfnq", "bytes": 6420, "object": "file", "status": "processed", "purpose": "fine-tune", "filename": "long-labels.jsonl", "created_at": 1795917107, "expires_at": null, "status_details": null}', '2026-11-29 01:51:47.536083+00', 200),
	('proj_9An2ZtvG5NV3yGJJPg9DRdkx', '
72d2e1c01e2b1409e4f6cafdadd83416c97030e849c226e097381006e0f1a4a1', '72d2e1c01e2b1409e4f6cafdadd83416c97030e849c226e097381006e0f1a4a1', '{"id": "ftjob-o6fCeiI4ed2hFaBSHpkyRYHZ", "seed": 7, "error": null, "model": "tiny", "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": 0.1}}}, "object": "fine_tuning.job", "status": "validating_files", "metadata": null, "created_at": 1795917107, "finished_at": null, "integrations": [], "result_files": [], "training_file": "file-q9w7pqKjCx6GBrbZilbC2Ppg", "usage_metrics": null, "trained_tokens": null, "hyperparameters": {"n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": 0.1}, "organization_id": "org-Nn49KPHVgdiHPayyJSyFGEq2", "validation_file": null, "estimated_finish": null, "fine_tuned_model": null, "shared_with_openai": false, "user_provided_suffix": null}', '2026-11-29 01:51:47.727718+00', 200),
	('proj_9An2ZtvG5NV3yGJJPg9DRdkx', '
26ab19ed500b67b11b8ddfefa1a1ef9dfa96583936dde9d3c74d87b975a29848', '26ab19ed500b67b11b8ddfefa1a1ef9dfa96583936dde9d3c74d87b975a29848', '{"id": "ftjob-GrlbsNKUtBWgmsDIwKLCefV3", "seed": 7, "error": null, "model": "tiny", "method": {"dpo": {"hyperparameters": {"beta": "auto", "n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": 0.1}}, "type": "dpo"}, "object": "fine_tuning.job", "status": "validating_files", "metadata": null, "created_at": 1795917133, "finished_at": null, "integrations": [], "result_files": [], "training_file": "file-jjQy9lL7y1QOodz5fHfargru", "usage_metrics": null, "trained_tokens": null, "hyperparameters": {"beta": "auto", "n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": 0.1}, "organization_id": "org-Nn49KPHVgdiHPayyJSyFGEq2", "validation_file": null, "estimated_finish": null, "fine_tuned_model": null, "shared_with_openai": false, "user_provided_suffix": null}', '2026-11-29 01:52:13.400732+00', 200),
	('proj_9An2ZtvG5NV3yGJJPg9DRdkx', '
46718377a52999b0260f35300ff42497098b5ee6ffbdf7ac13a1abf08f3df454', '46718377a52999b0260f35300ff42497098b5ee6ffbdf7ac13a1abf08f3df454', '{"id": "ftjob-yfUlXxXapNQX1dRQs1mmRAnj", "seed": 7, "error": null, "model": "tiny-encoder", "method": {"type": "classification", "classification": {"hyperparameters": {"tuning": "auto", "n_epochs": 3, "batch_size": 1, "max_length": "auto", "class_weights": "auto", "early_stopping_patience": 3, "learning_rate_multiplier": 0.1}}}, "object": "fine_tuning.job", "status": "validating_files", "metadata": null, "created_at": 1795917156, "finished_at": null, "integrations": [], "result_files": [], "training_file": "file-3KISISp9o71lJsJCmorqlfnq", "usage_metrics": null, "trained_tokens": null, "hyperparameters": {"tuning": "auto", "n_epochs": 3, "batch_size": 1, "max_length": "auto", "class_weights": "auto", "early_stopping_patience": 3, "learning_rate_multiplier": 0.1}, "organization_id": "org-Nn49KPHVgdiHPayyJSyFGEq2", "validation_file": "file-go8Q7txaJguyJ2UQBjBQerce", "estimated_finish": null, "fine_tuned_model": null, "shared_with_openai": false, "user_provided_suffix": null}', '2026-11-29 01:52:36.891919+00', 200),
	('proj_9An2ZtvG5NV3yGJJPg9DRdkx', '
898fa73f68a16b134729e5e1ff229d9992de86e2591ca75c38892601b124f40f', '898fa73f68a16b134729e5e1ff229d9992de86e2591ca75c38892601b124f40f', '{"id": "ftjob-Jmdr7L9KEv2zZtqNhykfjPih", "seed": 7, "error": null, "model": "tiny", "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}}}, "object": "fine_tuning.job", "status": "validating_files", "metadata": null, "created_at": 1795917180, "finished_at": null, "integrations": [], "result_files": [], "training_file": "file-il6VhugYcl0NglCpo1lQV2L5", "usage_metrics": null, "trained_tokens": null, "hyperparameters": {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}, "organization_id": "org-Nn49KPHVgdiHPayyJSyFGEq2", "validation_file": null, "estimated_finish": null, "fine_tuned_model": null, "shared_with_openai": false, "user_provided_suffix": null}', '2026-11-29 01:53:00.278403+00', 200),
	('proj_9An2ZtvG5NV3yGJJPg9DRdkx', '
3cd49c6c3f4ab597ef130b9fe35ec273724c57e5e20cfc1bf4382f81eb6526ad', '3cd49c6c3f4ab597ef130b9fe35ec273724c57e5e20cfc1bf4382f81eb6526ad', '{"id": "upload_i70JDCo53V8wJhHXhm6rh4n1", "file": null, "bytes": 320, "object": "upload", "status": "pending", "purpose": "fine-tune", "filename": "parts.jsonl", "created_at": 1795917182, "expires_at": 1795920782}', '2026-11-29 01:53:02.68311+00', 200),
	('org-Nn49KPHVgdiHPayyJSyFGEq2', '
e0eec8368d063831d170da6a1a6ff343012e74149e44396c944f92ab868d067d', 'e0eec8368d063831d170da6a1a6ff343012e74149e44396c944f92ab868d067d', '{"data": [{"id": "cp_LkHskELqp6MZySHg2k33XTee", "object": "checkpoint.permission", "created_at": 1795917182, "project_id": "proj_eagVkFCQ6UjRtcFIWtK0woHu"}], "object": "list", "last_id": "cp_LkHskELqp6MZySHg2k33XTee", "first_id": "cp_LkHskELqp6MZySHg2k33XTee", "has_more": false}', '2026-11-29 01:53:02.959863+00', 200);


--
-- Data for Name: service_accounts; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.service_accounts VALUES
	('svc_acct_2Tme2LdwAwhvSjqFfcXZur7k', 'proj_eagVkFCQ6UjRtcFIWtK0woHu', 'robot', 'member', '2026-11-29 01:50:55.268915+00', NULL);


--
-- Data for Name: tuned_models; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.tuned_models VALUES
	('ft:tiny:luthier:desk:lIVDP2To:ckpt-step-3', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 'tiny', 3, 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/jobs/ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS/e1/step-3', '2026-11-29 01:51:17.929891+00', NULL),
	('ft:tiny:luthier:desk:WGT0tlVp', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 'tiny', NULL, 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/jobs/ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS/e1/step-6', '2026-11-29 01:51:20.946036+00', NULL),
	('ft:tiny-encoder:luthier:parts:wGV7AfOz:ckpt-step-6', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 'tiny-encoder', 6, 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/jobs/ftjob-E9xBGfTKe9Or1WC2CJfe5DrV/e1/step-6', '2026-11-29 01:51:41.048164+00', NULL),
	('ft:tiny-encoder:luthier:parts:fun8VMDd', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 'tiny-encoder', NULL, 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/jobs/ftjob-E9xBGfTKe9Or1WC2CJfe5DrV/e1/step-12', '2026-11-29 01:51:46.043564+00', NULL),
	('ft:tiny-encoder:luthier::u1Ipid8n:ckpt-step-180', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'ftjob-yfUlXxXapNQX1dRQs1mmRAnj', 'tiny-encoder', 180, 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/jobs/ftjob-yfUlXxXapNQX1dRQs1mmRAnj/e1/step-180', '2026-11-29 01:52:55.923813+00', NULL);


--
-- Data for Name: upload_parts; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.upload_parts VALUES
	('part_KipTrhEx8RK2mESskBPOBIGO', 'upload_i70JDCo53V8wJhHXhm6rh4n1', 100, 'projects/proj_9An2ZtvG5NV3yGJJPg9DRdkx/uploads/upload_i70JDCo53V8wJhHXhm6rh4n1/part_KipTrhEx8RK2mESskBPOBIGO', '2026-11-29 01:53:02.799961+00', '1d69d41ff06688c1a1e5547002730f087b270b7e243721cfb05db2f2c4699738');


--
-- Data for Name: uploads; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.uploads VALUES
	('upload_i70JDCo53V8wJhHXhm6rh4n1', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'parts.jsonl', 'fine-tune', 320, NULL, 'pending', NULL, NULL, NULL, NULL, NULL, '2026-11-29 01:53:02.679493+00', '2026-11-29 02:53:02.679493+00');


--
-- Data for Name: usage; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.usage VALUES
	('ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'tiny', 1018, '2026-11-29 01:51:21.031524+00'),
	('ftjob-E9xBGfTKe9Or1WC2CJfe5DrV', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'tiny-encoder', 192, '2026-11-29 01:51:46.092998+00');


--
-- Data for Name: webhook_attempts; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.webhook_attempts VALUES
	('whd_MMauAI2oQXccGVjSFEpS4CGU', 1, '2026-11-29 01:51:21.215814+00', 5, 500, NULL),
	('whd_Xe7KuVTh7TK4KRQiVBkxagTW', 1, '2026-11-29 01:51:21.221897+00', 7, 204, NULL),
	('whd_kW6qsE3wJgnwpnd8FRV5wFrp', 1, '2026-11-29 01:51:46.16891+00', 2, 500, NULL),
	('whd_ErZjWajP3nFUkIJ4rgDOBVWd', 1, '2026-11-29 01:51:46.187802+00', 3, 204, NULL),
	('whd_carAfpoY41cOHo1Wmz14gfS7', 1, '2026-11-29 01:51:46.946019+00', 56, 204, NULL),
	('whd_mfdW5iHc6wm7zzesvZsfEnOn', 1, '2026-11-29 01:51:46.954182+00', 36, 500, NULL),
	('whd_MMauAI2oQXccGVjSFEpS4CGU', 2, '2026-11-29 01:51:51.382731+00', 8, 500, NULL),
	('whd_mfdW5iHc6wm7zzesvZsfEnOn', 2, '2026-11-29 01:52:11.719755+00', 2, 500, NULL),
	('whd_kW6qsE3wJgnwpnd8FRV5wFrp', 2, '2026-11-29 01:52:22.326687+00', 3, 500, NULL),
	('whd_EQwuVUAypGGpDHNZ17C61dOB', 1, '2026-11-29 01:53:00.659731+00', 23, 500, NULL),
	('whd_dpOQb9JeDm40s0MseU6umygs', 1, '2026-11-29 01:53:00.681517+00', 18, 204, NULL);


--
-- Data for Name: webhook_deliveries; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.webhook_deliveries VALUES
	('whd_carAfpoY41cOHo1Wmz14gfS7', 'wh_TEfWWcWOycoo3xQFlOaEQSzD', 'evt_cdwGSFYpnxGNqQlOC5hc2tM3', 'fine_tuning.job.failed', '{"id":"evt_cdwGSFYpnxGNqQlOC5hc2tM3","object":"event","created_at":1795917106,"type":"fine_tuning.job.failed","data":{"id":"ftjob-zI4hupoppXywdYq1RNqYDY5A"}}', 'succeeded', 1, '2026-11-29 01:51:46.730078+00', NULL, NULL),
	('whd_Xe7KuVTh7TK4KRQiVBkxagTW', 'wh_TEfWWcWOycoo3xQFlOaEQSzD', 'evt_tPgkYXNVKE58C4ICqGSHf58U', 'fine_tuning.job.succeeded', '{"id":"evt_tPgkYXNVKE58C4ICqGSHf58U","object":"event","created_at":1795917080,"type":"fine_tuning.job.succeeded","data":{"id":"ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS"}}', 'succeeded', 1, '2026-11-29 01:51:21.00988+00', NULL, NULL),
	('whd_ErZjWajP3nFUkIJ4rgDOBVWd', 'wh_TEfWWcWOycoo3xQFlOaEQSzD', 'evt_IJiLGlgGQQ2OhwON3KEzhTzX', 'fine_tuning.job.succeeded', '{"id":"evt_IJiLGlgGQQ2OhwON3KEzhTzX","object":"event","created_at":1795917106,"type":"fine_tuning.job.succeeded","data":{"id":"ftjob-E9xBGfTKe9Or1WC2CJfe5DrV"}}', 'succeeded', 1, '2026-11-29 01:51:46.073015+00', NULL, NULL),
	('whd_MMauAI2oQXccGVjSFEpS4CGU', 'wh_nKe2YarccHTQX3YCx1Ysdduv', 'evt_tPgkYXNVKE58C4ICqGSHf58U', 'fine_tuning.job.succeeded', '{"id":"evt_tPgkYXNVKE58C4ICqGSHf58U","object":"event","created_at":1795917080,"type":"fine_tuning.job.succeeded","data":{"id":"ftjob-Dxlw8B4xkxA9n1wFRJeMS5YS"}}', 'pending', 2, '2026-11-29 01:51:21.009356+00', '2026-11-29 01:57:20.400807+00', NULL),
	('whd_EQwuVUAypGGpDHNZ17C61dOB', 'wh_nKe2YarccHTQX3YCx1Ysdduv', 'evt_9g5Md5ahvjtY4ixQAKJJ9xVn', 'fine_tuning.job.cancelled', '{"id":"evt_9g5Md5ahvjtY4ixQAKJJ9xVn","object":"event","created_at":1795917180,"type":"fine_tuning.job.cancelled","data":{"id":"ftjob-Jmdr7L9KEv2zZtqNhykfjPih"}}', 'pending', 1, '2026-11-29 01:53:00.438559+00', '2026-11-29 01:53:33.615585+00', NULL),
	('whd_mfdW5iHc6wm7zzesvZsfEnOn', 'wh_nKe2YarccHTQX3YCx1Ysdduv', 'evt_cdwGSFYpnxGNqQlOC5hc2tM3', 'fine_tuning.job.failed', '{"id":"evt_cdwGSFYpnxGNqQlOC5hc2tM3","object":"event","created_at":1795917106,"type":"fine_tuning.job.failed","data":{"id":"ftjob-zI4hupoppXywdYq1RNqYDY5A"}}', 'pending', 2, '2026-11-29 01:51:46.729982+00', '2026-11-29 01:57:27.892489+00', NULL),
	('whd_dpOQb9JeDm40s0MseU6umygs', 'wh_TEfWWcWOycoo3xQFlOaEQSzD', 'evt_9g5Md5ahvjtY4ixQAKJJ9xVn', 'fine_tuning.job.cancelled', '{"id":"evt_9g5Md5ahvjtY4ixQAKJJ9xVn","object":"event","created_at":1795917180,"type":"fine_tuning.job.cancelled","data":{"id":"ftjob-Jmdr7L9KEv2zZtqNhykfjPih"}}', 'succeeded', 1, '2026-11-29 01:53:00.438824+00', NULL, NULL),
	('whd_kW6qsE3wJgnwpnd8FRV5wFrp', 'wh_nKe2YarccHTQX3YCx1Ysdduv', 'evt_IJiLGlgGQQ2OhwON3KEzhTzX', 'fine_tuning.job.succeeded', '{"id":"evt_IJiLGlgGQQ2OhwON3KEzhTzX","object":"event","created_at":1795917106,"type":"fine_tuning.job.succeeded","data":{"id":"ftjob-E9xBGfTKe9Or1WC2CJfe5DrV"}}', 'pending', 2, '2026-11-29 01:51:46.07281+00', '2026-11-29 01:57:37.804497+00', NULL);


--
-- Data for Name: webhook_endpoints; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.webhook_endpoints VALUES
	('wh_TEfWWcWOycoo3xQFlOaEQSzD', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'good', 'http://127.0.0.1:37495/hook', '["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"]', 'whsec_KYTxMWvdLjGbprUD0KeLWkX+XKWgC01wwPj0foRWdGM=', NULL, NULL, '2026-11-29 01:50:55.970513+00', '2026-11-29 01:50:55.970513+00', NULL),
	('wh_nKe2YarccHTQX3YCx1Ysdduv', 'proj_9An2ZtvG5NV3yGJJPg9DRdkx', 'bad', 'http://127.0.0.1:46207/hook', '["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"]', 'whsec_0gq/Uv1xU7MCwH0R6w0jHgFXmyuDwebP2lSwmEI1mVM=', NULL, NULL, '2026-11-29 01:50:56.137946+00', '2026-11-29 01:50:56.137946+00', NULL);


--
-- Data for Name: workers; Type: TABLE DATA; Schema: public; Owner: -
--

INSERT INTO public.workers VALUES
	('trainer:19236:ea298115', 'active', '2026-11-29 01:51:01.519181+00', '2026-11-29 01:53:10.471248+00');


--
-- Name: outbox_id_seq; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.outbox_id_seq', 17, true);


--
-- Name: alembic_version alembic_version_pkc; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);


--
-- Name: admin_keys pk_admin_keys; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.admin_keys
    ADD CONSTRAINT pk_admin_keys PRIMARY KEY (id);


--
-- Name: api_keys pk_api_keys; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT pk_api_keys PRIMARY KEY (id);


--
-- Name: checkpoint_permissions pk_checkpoint_permissions; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.checkpoint_permissions
    ADD CONSTRAINT pk_checkpoint_permissions PRIMARY KEY (id);


--
-- Name: checkpoints pk_checkpoints; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.checkpoints
    ADD CONSTRAINT pk_checkpoints PRIMARY KEY (id);


--
-- Name: duties pk_duties; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.duties
    ADD CONSTRAINT pk_duties PRIMARY KEY (name);


--
-- Name: files pk_files; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.files
    ADD CONSTRAINT pk_files PRIMARY KEY (id);


--
-- Name: job_attempts pk_job_attempts; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.job_attempts
    ADD CONSTRAINT pk_job_attempts PRIMARY KEY (job_id, epoch);


--
-- Name: job_events pk_job_events; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.job_events
    ADD CONSTRAINT pk_job_events PRIMARY KEY (id);


--
-- Name: job_leases pk_job_leases; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.job_leases
    ADD CONSTRAINT pk_job_leases PRIMARY KEY (job_id);


--
-- Name: job_metadata pk_job_metadata; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.job_metadata
    ADD CONSTRAINT pk_job_metadata PRIMARY KEY (project_id, key, value, created_at, job_id);


--
-- Name: job_metrics pk_job_metrics; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.job_metrics
    ADD CONSTRAINT pk_job_metrics PRIMARY KEY (job_id, step);


--
-- Name: jobs pk_jobs; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT pk_jobs PRIMARY KEY (id);


--
-- Name: model_hours pk_model_hours; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.model_hours
    ADD CONSTRAINT pk_model_hours PRIMARY KEY (model, hour);


--
-- Name: organizations pk_organizations; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.organizations
    ADD CONSTRAINT pk_organizations PRIMARY KEY (id);


--
-- Name: outbox pk_outbox; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT pk_outbox PRIMARY KEY (id);


--
-- Name: predictions pk_predictions; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.predictions
    ADD CONSTRAINT pk_predictions PRIMARY KEY (request_id);


--
-- Name: projects pk_projects; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.projects
    ADD CONSTRAINT pk_projects PRIMARY KEY (id);


--
-- Name: repeats pk_repeats; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.repeats
    ADD CONSTRAINT pk_repeats PRIMARY KEY (project_id, key);


--
-- Name: service_accounts pk_service_accounts; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.service_accounts
    ADD CONSTRAINT pk_service_accounts PRIMARY KEY (id);


--
-- Name: tuned_models pk_tuned_models; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.tuned_models
    ADD CONSTRAINT pk_tuned_models PRIMARY KEY (name);


--
-- Name: upload_parts pk_upload_parts; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.upload_parts
    ADD CONSTRAINT pk_upload_parts PRIMARY KEY (id);


--
-- Name: uploads pk_uploads; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.uploads
    ADD CONSTRAINT pk_uploads PRIMARY KEY (id);


--
-- Name: usage pk_usage; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.usage
    ADD CONSTRAINT pk_usage PRIMARY KEY (job_id);


--
-- Name: webhook_attempts pk_webhook_attempts; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.webhook_attempts
    ADD CONSTRAINT pk_webhook_attempts PRIMARY KEY (delivery_id, number);


--
-- Name: webhook_deliveries pk_webhook_deliveries; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.webhook_deliveries
    ADD CONSTRAINT pk_webhook_deliveries PRIMARY KEY (id);


--
-- Name: webhook_endpoints pk_webhook_endpoints; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.webhook_endpoints
    ADD CONSTRAINT pk_webhook_endpoints PRIMARY KEY (id);


--
-- Name: workers pk_workers; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.workers
    ADD CONSTRAINT pk_workers PRIMARY KEY (name);


--
-- Name: checkpoint_permissions uq_checkpoint_permissions_model_name_project_id; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.checkpoint_permissions
    ADD CONSTRAINT uq_checkpoint_permissions_model_name_project_id UNIQUE (model_name, project_id);


--
-- Name: checkpoints uq_checkpoints_job_id_step_kind; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.checkpoints
    ADD CONSTRAINT uq_checkpoints_job_id_step_kind UNIQUE (job_id, step, kind);


--
-- Name: job_events uq_job_events_job_id_dedupe_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.job_events
    ADD CONSTRAINT uq_job_events_job_id_dedupe_key UNIQUE (job_id, dedupe_key);


--
-- Name: job_events uq_job_events_job_id_seq; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.job_events
    ADD CONSTRAINT uq_job_events_job_id_seq UNIQUE (job_id, seq);


--
-- Name: organizations uq_organizations_slug; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.organizations
    ADD CONSTRAINT uq_organizations_slug UNIQUE (slug);


--
-- Name: upload_parts uq_upload_parts_storage_key; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.upload_parts
    ADD CONSTRAINT uq_upload_parts_storage_key UNIQUE (storage_key);


--
-- Name: webhook_deliveries uq_webhook_deliveries_endpoint_id_event_id; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.webhook_deliveries
    ADD CONSTRAINT uq_webhook_deliveries_endpoint_id_event_id UNIQUE (endpoint_id, event_id);


--
-- Name: ix_admin_keys_secret_sha256; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX ix_admin_keys_secret_sha256 ON public.admin_keys USING btree (secret_sha256);


--
-- Name: ix_api_keys_project_id_created_at_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_api_keys_project_id_created_at_id ON public.api_keys USING btree (project_id, created_at, id);


--
-- Name: ix_api_keys_secret_sha256; Type: INDEX; Schema: public; Owner: -
--

CREATE UNIQUE INDEX ix_api_keys_secret_sha256 ON public.api_keys USING btree (secret_sha256);


--
-- Name: ix_checkpoint_permissions_project_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_checkpoint_permissions_project_id ON public.checkpoint_permissions USING btree (project_id);


--
-- Name: ix_files_project_page; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_files_project_page ON public.files USING btree (project_id, created_at DESC, id DESC) WHERE (deleted_at IS NULL);


--
-- Name: ix_job_leases_lease_until; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_job_leases_lease_until ON public.job_leases USING btree (lease_until);


--
-- Name: ix_jobs_at_work; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_jobs_at_work ON public.jobs USING btree (project_id, state) WHERE ((state)::text = ANY ((ARRAY['validating_files'::character varying, 'running'::character varying, 'pausing'::character varying, 'finalizing'::character varying])::text[]));


--
-- Name: ix_jobs_project_page; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_jobs_project_page ON public.jobs USING btree (project_id, created_at DESC, id DESC);


--
-- Name: ix_jobs_queued; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_jobs_queued ON public.jobs USING btree (project_id, priority DESC, created_at, id) WHERE ((state)::text = 'queued'::text);


--
-- Name: ix_jobs_without_metadata; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_jobs_without_metadata ON public.jobs USING btree (project_id, created_at DESC, id DESC) WHERE ((user_metadata IS NULL) OR (user_metadata = '{}'::jsonb));


--
-- Name: ix_model_hours_hour; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_model_hours_hour ON public.model_hours USING btree (hour);


--
-- Name: ix_outbox_open; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_outbox_open ON public.outbox USING btree (available_at) WHERE (done_at IS NULL);


--
-- Name: ix_predictions_answer_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_predictions_answer_id ON public.predictions USING btree (answer_id);


--
-- Name: ix_predictions_created_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_predictions_created_at ON public.predictions USING btree (created_at);


--
-- Name: ix_predictions_model_created_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_predictions_model_created_at ON public.predictions USING btree (model, created_at);


--
-- Name: ix_projects_organization_page; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_projects_organization_page ON public.projects USING btree (organization_id, created_at DESC, id DESC);


--
-- Name: ix_repeats_created_at; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_repeats_created_at ON public.repeats USING btree (created_at);


--
-- Name: ix_service_accounts_project_id_created_at_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_service_accounts_project_id_created_at_id ON public.service_accounts USING btree (project_id, created_at, id);


--
-- Name: ix_tuned_models_project_page; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_tuned_models_project_page ON public.tuned_models USING btree (project_id, created_at DESC, name);


--
-- Name: ix_upload_parts_upload_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_upload_parts_upload_id ON public.upload_parts USING btree (upload_id);


--
-- Name: ix_uploads_open; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_uploads_open ON public.uploads USING btree (expires_at) WHERE ((state)::text = ANY ((ARRAY['pending'::character varying, 'completing'::character varying])::text[]));


--
-- Name: ix_uploads_project_id; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_uploads_project_id ON public.uploads USING btree (project_id);


--
-- Name: ix_webhook_deliveries_due; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_webhook_deliveries_due ON public.webhook_deliveries USING btree (next_at) WHERE ((state)::text = 'pending'::text);


--
-- Name: ix_webhook_deliveries_page; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_webhook_deliveries_page ON public.webhook_deliveries USING btree (endpoint_id, created_at DESC, id DESC);


--
-- Name: ix_webhook_endpoints_project_page; Type: INDEX; Schema: public; Owner: -
--

CREATE INDEX ix_webhook_endpoints_project_page ON public.webhook_endpoints USING btree (project_id, created_at DESC, id DESC);


--
-- Name: jobs jobs_list_metadata; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER jobs_list_metadata AFTER INSERT ON public.jobs FOR EACH ROW WHEN ((jsonb_typeof(new.user_metadata) = 'object'::text)) EXECUTE FUNCTION public.jobs_list_metadata();


--
-- Name: jobs jobs_terminal_states_absorb; Type: TRIGGER; Schema: public; Owner: -
--

CREATE TRIGGER jobs_terminal_states_absorb BEFORE UPDATE ON public.jobs FOR EACH ROW WHEN ((((old.state)::text = ANY ((ARRAY['succeeded'::character varying, 'failed'::character varying, 'cancelled'::character varying])::text[])) AND (((old.state)::text IS DISTINCT FROM (new.state)::text) OR (old.epoch IS DISTINCT FROM new.epoch)))) EXECUTE FUNCTION public.jobs_terminal_states_absorb();


--
-- Name: admin_keys fk_admin_keys_organization_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.admin_keys
    ADD CONSTRAINT fk_admin_keys_organization_id FOREIGN KEY (organization_id) REFERENCES public.organizations(id);


--
-- Name: api_keys fk_api_keys_project_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT fk_api_keys_project_id FOREIGN KEY (project_id) REFERENCES public.projects(id);


--
-- Name: api_keys fk_api_keys_service_account_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT fk_api_keys_service_account_id FOREIGN KEY (service_account_id) REFERENCES public.service_accounts(id);


--
-- Name: checkpoint_permissions fk_checkpoint_permissions_model_name; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.checkpoint_permissions
    ADD CONSTRAINT fk_checkpoint_permissions_model_name FOREIGN KEY (model_name) REFERENCES public.tuned_models(name);


--
-- Name: checkpoint_permissions fk_checkpoint_permissions_project_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.checkpoint_permissions
    ADD CONSTRAINT fk_checkpoint_permissions_project_id FOREIGN KEY (project_id) REFERENCES public.projects(id);


--
-- Name: checkpoints fk_checkpoints_job_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.checkpoints
    ADD CONSTRAINT fk_checkpoints_job_id FOREIGN KEY (job_id) REFERENCES public.jobs(id);


--
-- Name: files fk_files_project_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.files
    ADD CONSTRAINT fk_files_project_id FOREIGN KEY (project_id) REFERENCES public.projects(id);


--
-- Name: job_attempts fk_job_attempts_job_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.job_attempts
    ADD CONSTRAINT fk_job_attempts_job_id FOREIGN KEY (job_id) REFERENCES public.jobs(id);


--
-- Name: job_events fk_job_events_job_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.job_events
    ADD CONSTRAINT fk_job_events_job_id FOREIGN KEY (job_id) REFERENCES public.jobs(id);


--
-- Name: job_leases fk_job_leases_job_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.job_leases
    ADD CONSTRAINT fk_job_leases_job_id FOREIGN KEY (job_id) REFERENCES public.jobs(id);


--
-- Name: job_metadata fk_job_metadata_job_id_jobs; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.job_metadata
    ADD CONSTRAINT fk_job_metadata_job_id_jobs FOREIGN KEY (job_id) REFERENCES public.jobs(id);


--
-- Name: job_metadata fk_job_metadata_project_id_projects; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.job_metadata
    ADD CONSTRAINT fk_job_metadata_project_id_projects FOREIGN KEY (project_id) REFERENCES public.projects(id);


--
-- Name: job_metrics fk_job_metrics_job_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.job_metrics
    ADD CONSTRAINT fk_job_metrics_job_id FOREIGN KEY (job_id) REFERENCES public.jobs(id);


--
-- Name: jobs fk_jobs_evaluation_file_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT fk_jobs_evaluation_file_id FOREIGN KEY (evaluation_file_id) REFERENCES public.files(id);


--
-- Name: jobs fk_jobs_project_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT fk_jobs_project_id FOREIGN KEY (project_id) REFERENCES public.projects(id);


--
-- Name: jobs fk_jobs_result_file_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT fk_jobs_result_file_id FOREIGN KEY (result_file_id) REFERENCES public.files(id);


--
-- Name: jobs fk_jobs_training_file_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT fk_jobs_training_file_id FOREIGN KEY (training_file_id) REFERENCES public.files(id);


--
-- Name: jobs fk_jobs_validation_file_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT fk_jobs_validation_file_id FOREIGN KEY (validation_file_id) REFERENCES public.files(id);


--
-- Name: projects fk_projects_organization_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.projects
    ADD CONSTRAINT fk_projects_organization_id FOREIGN KEY (organization_id) REFERENCES public.organizations(id);


--
-- Name: service_accounts fk_service_accounts_project_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.service_accounts
    ADD CONSTRAINT fk_service_accounts_project_id FOREIGN KEY (project_id) REFERENCES public.projects(id);


--
-- Name: tuned_models fk_tuned_models_job_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.tuned_models
    ADD CONSTRAINT fk_tuned_models_job_id FOREIGN KEY (job_id) REFERENCES public.jobs(id);


--
-- Name: tuned_models fk_tuned_models_project_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.tuned_models
    ADD CONSTRAINT fk_tuned_models_project_id FOREIGN KEY (project_id) REFERENCES public.projects(id);


--
-- Name: upload_parts fk_upload_parts_upload_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.upload_parts
    ADD CONSTRAINT fk_upload_parts_upload_id FOREIGN KEY (upload_id) REFERENCES public.uploads(id);


--
-- Name: uploads fk_uploads_file_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.uploads
    ADD CONSTRAINT fk_uploads_file_id FOREIGN KEY (file_id) REFERENCES public.files(id);


--
-- Name: uploads fk_uploads_project_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.uploads
    ADD CONSTRAINT fk_uploads_project_id FOREIGN KEY (project_id) REFERENCES public.projects(id);


--
-- Name: usage fk_usage_job_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.usage
    ADD CONSTRAINT fk_usage_job_id FOREIGN KEY (job_id) REFERENCES public.jobs(id);


--
-- Name: usage fk_usage_project_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.usage
    ADD CONSTRAINT fk_usage_project_id FOREIGN KEY (project_id) REFERENCES public.projects(id);


--
-- Name: webhook_attempts fk_webhook_attempts_delivery_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.webhook_attempts
    ADD CONSTRAINT fk_webhook_attempts_delivery_id FOREIGN KEY (delivery_id) REFERENCES public.webhook_deliveries(id) ON DELETE CASCADE;


--
-- Name: webhook_deliveries fk_webhook_deliveries_endpoint_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.webhook_deliveries
    ADD CONSTRAINT fk_webhook_deliveries_endpoint_id FOREIGN KEY (endpoint_id) REFERENCES public.webhook_endpoints(id) ON DELETE CASCADE;


--
-- Name: webhook_endpoints fk_webhook_endpoints_project_id; Type: FK CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.webhook_endpoints
    ADD CONSTRAINT fk_webhook_endpoints_project_id FOREIGN KEY (project_id) REFERENCES public.projects(id);


--
-- PostgreSQL database dump complete
--



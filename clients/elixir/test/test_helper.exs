# What needs the real service or the real bridge runs where it is told of them: the project's own tests do.
exclude =
  for {tag, variable} <- [service: "RAG_TEST_URL", vllm: "RAG_TEST_VLLM", bridge: "RAG_TEST_BRIDGE"],
      System.get_env(variable) in [nil, ""],
      do: tag

ExUnit.start(exclude: exclude, capture_log: true, assert_receive_timeout: 5_000)

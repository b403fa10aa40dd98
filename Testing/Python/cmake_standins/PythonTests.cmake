# slicer_add_python_test and slicer_add_python_unittest: one ctest each, in a Slicer that is given the build tree.
function(_standin_add_test name)
  add_test(NAME py_${name} COMMAND ${Slicer_LAUNCHER_EXECUTABLE} --no-splash --testing
    --additional-module-paths "${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}" ${ARGN})
  set_property(TEST py_${name} PROPERTY RUN_SERIAL TRUE)
endfunction()

function(_standin_script_of result script)
  if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${script}")
    message(FATAL_ERROR "a test script that does not exist: '${script}'")
  endif()
  get_filename_component(name "${script}" NAME_WE)
  set(${result} "${name}" PARENT_SCOPE)
endfunction()

function(slicer_add_python_test)
  cmake_parse_arguments(PARSE_ARGV 0 MY "" "TESTNAME_PREFIX;SCRIPT" "SLICER_ARGS;SCRIPT_ARGS")
  _standin_script_of(name "${MY_SCRIPT}")
  _standin_add_test(${MY_TESTNAME_PREFIX}${name} ${MY_SLICER_ARGS}
    --python-script "${CMAKE_CURRENT_SOURCE_DIR}/${MY_SCRIPT}" ${MY_SCRIPT_ARGS})
endfunction()

function(slicer_add_python_unittest)
  cmake_parse_arguments(PARSE_ARGV 0 MY "" "TESTNAME_PREFIX;SCRIPT" "SLICER_ARGS")
  _standin_script_of(name "${MY_SCRIPT}")
  _standin_add_test(${MY_TESTNAME_PREFIX}${name} ${MY_SLICER_ARGS} --python-code
    "import slicer.testing; slicer.testing.runUnitTest(['${CMAKE_CURRENT_SOURCE_DIR}'], '${name}')")
endfunction()

# slicerMacroBuildScriptedModule: files go to the build tree at their relative paths (below the name of the module's
# folder WITH_SUBDIR), and the folder of the build tree is installed.
function(_standin_check_listed)
  foreach(file IN LISTS ARGN)
    if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${file}" AND NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${file}.py")
      message(FATAL_ERROR "slicerMacroBuildScriptedModule was given a file that does not exist: '${file}'")
    endif()
  endforeach()
endfunction()

function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(PARSE_ARGV 0 MODULE "WITH_GENERIC_TESTS;WITH_SUBDIR;VERBOSE" "NAME" "SCRIPTS;RESOURCES")
  if(MODULE_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule does not know: ${MODULE_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT MODULE_NAME)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule needs a NAME")
  endif()
  _standin_check_listed(${MODULE_SCRIPTS} ${MODULE_RESOURCES})

  set(destination "${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}")
  set(installed "${destination}/")
  if(MODULE_WITH_SUBDIR)
    get_filename_component(subfolder "${CMAKE_CURRENT_SOURCE_DIR}" NAME)
    set(destination "${destination}/${subfolder}")
    set(installed "${destination}")
  endif()

  set(copies "")
  foreach(file IN LISTS MODULE_SCRIPTS MODULE_RESOURCES)
    if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
      set(file "${file}.py")
    endif()
    add_custom_command(
      OUTPUT "${destination}/${file}"
      COMMAND ${CMAKE_COMMAND} -E copy "${CMAKE_CURRENT_SOURCE_DIR}/${file}" "${destination}/${file}"
      DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${file}"
      )
    list(APPEND copies "${destination}/${file}")
  endforeach()
  add_custom_target(Copy${MODULE_NAME} ALL DEPENDS ${copies})
  install(DIRECTORY "${installed}" DESTINATION "${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR}")
  if(BUILD_TESTING AND MODULE_WITH_GENERIC_TESTS)
    _standin_add_test(nomainwindow_qSlicer${MODULE_NAME}ModuleGenericTest --no-main-window --python-code
      "import slicer; assert slicer.modules.moduleManager().module('${MODULE_NAME}').widgetRepresentation()")
  endif()
endfunction()
